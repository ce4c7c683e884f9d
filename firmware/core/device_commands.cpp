// What a device is told, and how it leaves.

#include "device.hpp"

namespace muster {

namespace {

/** What waits may take so long before the goodbye, and all of it so long; then the connection ends with the will. */
constexpr uint32_t kFlushLimitMs = 3000;
constexpr uint32_t kLeaveLimitMs = 5000;
constexpr uint32_t kLeaveRetryMs = 100;
/** After connecting, so that a configuration and commands that wait arrive before it sleeps again. */
constexpr uint32_t kListenMs = 1000;
/** A device that sleeps does not empty its battery waiting for a broker. */
constexpr uint32_t kAwakeLimitMs = 30000;

}  // namespace

void Device::onMessage(Text topic, Text payload, bool isRetained) {
  readTime();
  if (phase_ != Phase::online && phase_ != Phase::leaving) return;
  Buffer<kMaxTopicBytes> expected;
  if (node_.writeCommandTopic(*this, expected) && topic == expected.written()) {
    // Kept by a broker it is somebody's mistake, and would be done again with every connection.
    if (!isRetained) node_.onTopicCommand(*this, payload);
    return;
  }
  Buffer<kMaxTopicBytes> config;
  Buffer<kMaxTopicBytes> command;
  writeTopic(config, id(), Channel::config);
  writeTopic(command, id(), Channel::command);
  if (topic == config.written()) {
    onConfig(payload);
  } else if (topic == command.written()) {
    onCommand(payload, isRetained);
  }
}

void Device::onConfig(Text payload) {
  // A retained topic that is cleared says nothing about what is wanted.
  if (payload.isEmpty()) return;
  const ConfigResult result = settings_.apply(payload, defaults_);
  // What is applied already is news where something else was wanted, and was wrong.
  if (!result.isApplied && result.error.isEmpty() && lastConfig_.error.isEmpty()) return;
  if (result.isApplied) {
    lastConfig_ = result;
    const Settings::Stored stored = settings_.stored();
    board_.writeFlash(kConfigKey, &stored, sizeof stored);
  } else {
    lastConfig_.error = result.error;
    lastConfig_.setting = result.setting;
  }
  slots_[kInfo].isWanted = true;
}

void Device::onCommand(Text payload, bool isRetained) {
  Command command;
  if (!readCommand(payload, command)) {
    board_.log("a command without an id that can be answered: left out");
    return;
  }
  const Text id = command.id.written();
  Text error;
  if (!recent_.find(id, error)) {
    error = command.fault.isEmpty() ? execute(command, isRetained) : command.fault;
    recent_.remember(id, error);
  }
  Buffer<kMaxAckBytes> answer;
  writeAck(answer, id, error);
  push(Channel::ack, 1, answer.written());
}

Text Device::execute(const Command& command, bool isRetained) {
  const Text name = command.name.written();
  const JsonObject args(command.args);
  if (phase_ == Phase::leaving) return "leaving";
  if (isRetained) return "retained";
  if (command.expiresMs > 0 && time_.epochMs() > command.expiresMs) return "expired";
  // Only a broker that keeps the session can have kept the command.
  const bool mayBeOld = sessionExpirySeconds_ > 0;
  if (command.expiresMs > 0 && time_.epochMs() == 0 && mayBeOld) return "no clock to tell whether it has expired";
  if (name == "report") {
    node_.reportSoon();
    return {};
  }
  if (name == "restart") {
    restarts_ = true;
    shutdown(Goodbye::shutdown, 0);
    return {};
  }
  if (name == "sleep") {
    JsonField field;
    int64_t seconds = 0;
    if (!args.find("seconds", field) || !field.readNumber(0, seconds) || seconds < 1 ||
        seconds > kLongestSleepSeconds) {
      return "seconds: 1 to 31536000";
    }
    shutdown(Goodbye::sleep, static_cast<uint32_t>(seconds));
    return {};
  }
  return node_.onCommand(*this, name, args);
}

void Device::shutdown(Goodbye reason, uint32_t wakeInSeconds) {
  if (phase_ == Phase::off || phase_ == Phase::leaving) return;
  readTime();
  goodbye_ = reason;
  wakeInSeconds_ = wakeInSeconds;
  if (phase_ == Phase::online) {
    phase_ = Phase::leaving;
    phaseAt_ = now_;
    return;
  }
  if (phase_ == Phase::connecting) transport_.disconnect(DisconnectCode::normal);
  powerOff();
}

uint32_t Device::tickLeaving() {
  if (since(phaseAt_) >= kLeaveLimitMs) {
    // Nobody may have heard the goodbye: the will has to tell.
    transport_.disconnect(DisconnectCode::withWill);
    powerOff();
    return kNever;
  }
  if (goodbyeToken_ != kNoToken) return kLeaveLimitMs - since(phaseAt_);
  send();
  const bool isFlushed = !hasUnsent() && !isAwaiting();
  if (isFlushed || since(phaseAt_) >= kFlushLimitMs) {
    Buffer<128> payload;
    writeGoodbye(payload, session_, goodbye_, wakeInSeconds_);
    goodbyeToken_ = publish(Channel::status, payload.written(), {1, true, 0});
  }
  return kLeaveRetryMs;
}

void Device::powerOff() {
  // They will not survive: who reads the next birth is to know.
  dropped_ += outbox_.count();
  keepEnd();
  phase_ = Phase::off;
  if (restarts_) {
    board_.restart();
  } else {
    board_.powerDown(wakeInSeconds_);
  }
}

uint32_t Device::tickSleep() {
  const uint32_t seconds = settings_.get(Setting::sleepSeconds);
  if (seconds == 0 || phase_ == Phase::off || phase_ == Phase::leaving) return kNever;
  const bool isListened = phase_ == Phase::online && since(phaseAt_) >= kListenMs;
  const bool isDone = isListened && isBorn_ && node_.isDone() && !hasUnsent() && !isAwaiting();
  if (isDone || since(startedAt_) >= kAwakeLimitMs) {
    shutdown(Goodbye::sleep, seconds);
    return 0;
  }
  const uint32_t awakeMs = kAwakeLimitMs - since(startedAt_);
  const uint32_t listenMs = isListened || phase_ != Phase::online ? kNever : kListenMs - since(phaseAt_);
  return awakeMs < listenMs ? awakeMs : listenMs;
}

}  // namespace muster
