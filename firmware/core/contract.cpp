#include "contract.hpp"

namespace muster {

namespace {

constexpr Text kWillStart = "{\"status\":\"offline\",\"session\":";
constexpr Text kWillEnd = ",\"reason\":\"unexpected\"}";
constexpr size_t kLongestSession = 16;
static_assert(kWillStart.size + kLongestSession + kWillEnd.size < kWillLimitBytes, "a will is short, in every session");

void writeMoment(Writer& out, Text clockName, const Moment& moment) {
  out.text(",\"").text(moment.isByClock ? clockName : "up").text("\":").number(moment.milliseconds);
}

constexpr bool isSpace(char c) { return c == ' ' || (c >= '\t' && c <= '\r'); }

Text trimmed(Text text) {
  while (!text.isEmpty() && isSpace(text.data[0])) text = text.part(1);
  while (!text.isEmpty() && isSpace(text.data[text.size - 1])) text = text.part(0, text.size - 1);
  return text;
}

bool isWord(Text text, Text lowerCase) {
  if (text.size != lowerCase.size) return false;
  for (size_t at = 0; at < text.size; ++at) {
    if ((text.data[at] | 0x20) != lowerCase.data[at]) return false;
  }
  return true;
}

}  // namespace

void writeTopic(Writer& out, Text device, Channel channel) {
  constexpr Text kNames[] = {"/status", "/info", "/config", "/telemetry", "/command", "/ack"};
  out.text("devices/").text(device).text(kNames[static_cast<uint8_t>(channel)]);
}

void writeRoomTopic(Writer& out, Text room, Text role) { out.text("home/").text(room).text("/").text(role); }

void writeBirth(Writer& out, uint64_t session, const Moment& moment, const PreviousSession* previous) {
  out.text("{\"status\":\"online\",\"session\":").number(session);
  writeMoment(out, "timestamp", moment);
  if (previous != nullptr) {
    out.text(",\"prev\":{\"session\":").number(previous->session);
    out.text(",\"seq\":").number(previous->seq).text(",\"dropped\":").number(previous->dropped).text("}");
  }
  out.text("}");
}

void writeWill(Writer& out, uint64_t session) { out.text(kWillStart).number(session).text(kWillEnd); }

void writeGoodbye(Writer& out, uint64_t session, Goodbye reason, uint32_t wakeInSeconds) {
  constexpr Text kNames[] = {"shutdown", "sleep", "update"};
  out.text(kWillStart).number(session);
  out.text(",\"reason\":\"").text(kNames[static_cast<uint8_t>(reason)]).text("\"");
  if (reason == Goodbye::sleep && wakeInSeconds > 0) out.text(",\"wake_in\":").number(wakeInSeconds);
  out.text("}");
}

void writeTelemetry(Writer& out, const Reading* readings, size_t count, const Moment& moment, uint64_t session,
                    uint32_t seq) {
  Text separator = "{\"";
  for (size_t index = 0; index < count; ++index) {
    const Reading& reading = readings[index];
    out.text(separator).text(reading.metric).text("\":").fixed(reading.value, reading.decimals);
    separator = ",\"";
  }
  writeMoment(out, "ts", moment);
  out.text(",\"session\":").number(session).text(",\"seq\":").number(seq).text("}");
}

void writeAck(Writer& out, Text id, Text error) {
  out.text("{\"id\":").quoted(id);
  if (error.isEmpty()) {
    out.text(",\"ok\":true}");
  } else {
    out.text(",\"ok\":false,\"error\":").quoted(error).text("}");
  }
}

bool readLightCommand(Text text, LightCommand& command) {
  const Text word = trimmed(text);
  if (isWord(word, "on") || isWord(word, "off")) {
    command = {word.size == 2, false, 0};
    return true;
  }
  if (word.isEmpty() || word.size > 3) return false;
  int percent = 0;
  for (size_t at = 0; at < word.size; ++at) {
    if (word.data[at] < '0' || word.data[at] > '9') return false;
    percent = percent * 10 + (word.data[at] - '0');
  }
  if (percent > 100) return false;
  command = {percent > 0, true, static_cast<uint8_t>(percent)};
  return true;
}

void Timekeeper::update(uint32_t millis, uint64_t epochMs) {
  // The difference of two times that wrap does not.
  if (hasStarted_) uptimeMs_ += millis - lastMillis_;
  hasStarted_ = true;
  lastMillis_ = millis;
  epochMs_ = epochMs >= kClockUnsetBelowMs ? epochMs : 0;
}

Moment Timekeeper::now() const { return epochMs_ == 0 ? Moment{false, uptimeMs_} : Moment{true, epochMs_}; }

Moment Timekeeper::next() {
  Moment moment = now();
  uint64_t& earliest = moment.isByClock ? earliestClockMs_ : earliestUptimeMs_;
  const bool isBefore = moment.milliseconds < earliest;
  if (isBefore && (!moment.isByClock || earliest - moment.milliseconds <= kClockAdjustedMs))
    moment.milliseconds = earliest;
  earliest = moment.milliseconds + 1;
  return moment;
}

}  // namespace muster
