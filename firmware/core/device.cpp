#include "device.hpp"

namespace muster {

namespace {

/** A broker that does not answer CONNECT or PUBLISH by then is not there, whatever TCP says. */
constexpr uint32_t kConnectLimitMs = 30000;
constexpr uint32_t kAckLimitMs = 30000;
/** When the transport takes no message because its own buffer is full. */
constexpr uint32_t kRetryMs = 1000;
constexpr uint32_t kFirstRefusedWaitMs = 5000;
constexpr uint32_t kLongestRefusedWaitMs = 300000;
/** The longest wait for nothing; `Timekeeper` needs to be asked, and what was misjudged is mended. */
constexpr uint32_t kIdleMs = 60000;

constexpr Text kSessionKey = "session";
constexpr Text kEndKey = "end";

constexpr uint32_t least(uint32_t a, uint32_t b) { return a < b ? a : b; }

/** What is left of a time that began at `from`; both wrap, their difference does not. */
constexpr uint32_t left(uint32_t from, uint32_t limit, uint32_t now) {
  return now - from >= limit ? 0 : limit - (now - from);
}

uint8_t copyId(Text text, char (&target)[64]) {
  if (text.size > sizeof target) return 0;
  __builtin_memcpy(target, text.data, text.size);
  return static_cast<uint8_t>(text.size);
}

}  // namespace

Device::Device(Board& board, Transport& transport, Node& node, Text id, Text room)
    : board_(board), transport_(transport), node_(node), idSize_(copyId(id, id_)), roomSize_(copyId(room, room_)) {}

Fault Device::configure(Text settings) {
  return defaults_.setDefaults(settings).isApplied ? Fault::none : Fault::badSettings;
}

Fault Device::begin() {
  if (!isDeviceId(id())) return Fault::badId;
  if (node_.needsRoom() && !isDeviceId(room())) return Fault::badRoom;
  settings_ = defaults_;
  Settings::Stored config;
  settings_.restore(&config, board_.readFlash(kConfigKey, &config, sizeof config));
  uint64_t last = 0;
  const bool isKnown = board_.readFlash(kSessionKey, &last, sizeof last) == sizeof last && last < kMaxSession;
  session_ = isKnown ? last + 1 : 1;
  readingSession_ = session_;
  hasPrevious_ = board_.readFlash(kEndKey, &previous_, sizeof previous_) == sizeof previous_;
  isEndKept_ = hasPrevious_;
  // Before it is used, and before any reading carries it: after a loss of power it is never used again.
  keepSession();
  readTime();
  startedAt_ = phaseAt_ = now_;
  phase_ = Phase::waiting;
  node_.begin(*this);
  return Fault::none;
}

void Device::readTime() {
  now_ = board_.millis();
  time_.update(now_, board_.epochMs());
}

uint32_t Device::tick() {
  readTime();
  if (phase_ == Phase::off) return kNever;
  if (phase_ == Phase::leaving) return tickLeaving();
  uint32_t waitMs = node_.tick(*this);
  waitMs = least(waitMs, tickConnection());
  return least(waitMs, tickSleep());
}

uint32_t Device::tickConnection() {
  if (phase_ == Phase::waiting) {
    const uint32_t waitMs = left(phaseAt_, waitMs_, now_);
    if (waitMs > 0) return waitMs;
    connect();
  }
  if (phase_ == Phase::online) send();
  const bool isConnecting = phase_ == Phase::connecting;
  if (isConnecting || isAwaiting()) {
    const uint32_t waitMs = isConnecting ? left(phaseAt_, kConnectLimitMs, now_) : left(progressAt_, kAckLimitMs, now_);
    if (waitMs > 0) return waitMs;
    transport_.disconnect(DisconnectCode::withWill);
    endConnection(LostReason::network);
    return waitMs_;
  }
  Waiting message;
  uint32_t waitMs = outbox_.next(message) ? kRetryMs : kIdleMs;
  for (const Slot& slot : slots_) {
    if (!slot.isWanted) continue;
    const uint32_t refusedMs = retryWaitMs(slot);
    waitMs = least(waitMs, refusedMs > 0 ? refusedMs : kRetryMs);
  }
  return waitMs;
}

void Device::connect() {
  if (isSessionUsed_) {
    ++session_;
    keepSession();
  }
  isSessionUsed_ = true;
  keepAliveSeconds_ = static_cast<uint16_t>(settings_.get(Setting::keepAliveSeconds));
  sessionExpirySeconds_ = settings_.get(Setting::sessionExpirySeconds);
  Buffer<kMaxTopicBytes> topic;
  Buffer<kWillLimitBytes> will;
  writeTopic(topic, id(), Channel::status);
  writeWill(will, session_);
  phase_ = Phase::connecting;
  phaseAt_ = now_;
  transport_.connect({id(), topic.written(), will.written(), keepAliveSeconds_, sessionExpirySeconds_});
}

void Device::keepSession() {
  // Without flash it works on: a counter that starts again is known to the monitor, a silent device is not.
  if (!board_.writeFlash(kSessionKey, &session_, sizeof session_)) board_.log("flash: the session could not be kept");
}

void Device::onConnected() {
  if (phase_ != Phase::connecting) return;
  readTime();
  phase_ = Phase::online;
  phaseAt_ = now_;
  beginSession();
  slots_[kBirth].isWanted = true;
  slots_[kInfo].isWanted = true;
  for (uint8_t index = 0; index < node_.stateCount(); ++index) {
    State state;
    node_.writeState(*this, index, state);
    // The broker may have lost what it kept.
    if (state.options.isRetained) stateChanged(index);
  }
  sendSlot(kBirth);
  Buffer<kMaxTopicBytes> config;
  Buffer<kMaxTopicBytes> command;
  Buffer<kMaxTopicBytes> topic;
  writeTopic(config, id(), Channel::config);
  writeTopic(command, id(), Channel::command);
  transport_.subscribe(config.written(), 1);
  transport_.subscribe(command.written(), 1);
  if (node_.writeCommandTopic(*this, topic)) transport_.subscribe(topic.written(), 1);
  send();
}

void Device::beginSession() {
  if (session_ == readingSession_) return;
  if (isBorn_ || hasPrevious_ || seq_ > 0) {
    previous_ = sessionEnd();
    hasPrevious_ = true;
    dropped_ = 0;
  }
  readingSession_ = session_;
  seq_ = 0;
  isBorn_ = false;
}

PreviousSession Device::sessionEnd() const {
  if (isBorn_ || !hasPrevious_) return {readingSession_, seq_, dropped_};
  // Nobody has heard of this session: what is told next is how the one before ended, and all that was dropped since.
  return {previous_.session, previous_.seq, previous_.dropped + dropped_};
}

void Device::onDisconnected(LostReason reason) {
  readTime();
  if (phase_ == Phase::leaving) {
    powerOff();
  } else if (phase_ == Phase::connecting || phase_ == Phase::online) {
    endConnection(reason);
  }
}

void Device::endConnection(LostReason reason) {
  const bool hasStood = phase_ == Phase::online;
  const uint32_t livedMs = hasStood ? since(phaseAt_) + 1 : 0;
  for (Slot& slot : slots_) {
    if (slot.token != kNoToken) slot.isWanted = true;
    slot.token = kNoToken;
    slot.refusals = 0;
  }
  outbox_.forgetTokens();
  if (reason == LostReason::unreached) isSessionUsed_ = false;
  if (hasStood) keepEnd();
  waitMs_ = reconnect_.lost(reason, livedMs, board_.random());
  phase_ = Phase::waiting;
  phaseAt_ = now_;
}

void Device::keepEnd() {
  if (!isBorn_ && seq_ == 0) return;
  const PreviousSession ended = sessionEnd();
  isEndKept_ = board_.writeFlash(kEndKey, &ended, sizeof ended);
}

void Device::forgetEnd() {
  if (!isEndKept_) return;
  // Shorter than an end is: after a loss of power nothing is said rather than what was true of an older session.
  constexpr char kNothing = '-';
  isEndKept_ = !board_.writeFlash(kEndKey, &kNothing, sizeof kNothing);
}

void Device::onAcknowledged(Token token, uint8_t reasonCode) {
  if (phase_ != Phase::online && phase_ != Phase::leaving) return;
  readTime();
  progressAt_ = now_;
  const bool isRefused = reasonCode >= 0x80;
  if (phase_ == Phase::leaving && token != kNoToken && token == goodbyeToken_) {
    transport_.disconnect(isRefused ? DisconnectCode::withWill : DisconnectCode::normal);
    powerOff();
    return;
  }
  for (uint8_t index = 0; index < kSlots; ++index) {
    Slot& slot = slots_[index];
    if (token == kNoToken || slot.token != token) continue;
    slot.token = kNoToken;
    if (!isRefused) {
      slot.refusals = 0;
      if (index == kBirth) {
        isBorn_ = true;
        forgetEnd();
      }
    } else {
      slot.isWanted = true;
      slot.refusedAt = now_;
      if (slot.refusals < UINT8_MAX) ++slot.refusals;
    }
  }
  if (outbox_.acknowledge(token) && isRefused) ++dropped_;
  send();
}

void Device::send() {
  if (goodbyeToken_ != kNoToken) return;
  for (uint8_t index = 0; index < kSlots; ++index) {
    if (!sendSlot(index)) return;
  }
  for (Waiting message; outbox_.next(message);) {
    const Token token = publish(message.channel, message.payload, {message.qos, false, 0});
    if (token == kNoToken) return;
    outbox_.markSent(token);
  }
}

bool Device::sendSlot(uint8_t index) {
  Slot& slot = slots_[index];
  if (!slot.isWanted || slot.token != kNoToken || retryWaitMs(slot) > 0) return true;
  if (index == kBirth) {
    Buffer<192> payload;
    writeBirth(payload, session_, time_.now(), hasPrevious_ ? &previous_ : nullptr);
    slot.token = publish(Channel::status, payload.written(), {1, true, 0});
  } else if (index == kInfo) {
    Buffer<768> payload;
    writeInfo(payload);
    slot.token = publish(Channel::info, payload.written(), {1, true, 0});
  } else {
    State state;
    node_.writeState(*this, static_cast<uint8_t>(index - kFirstNodeSlot), state);
    slot.token = publish(state.topic.written(), state.payload.written(), state.options);
  }
  if (slot.token == kNoToken) return false;
  slot.isWanted = false;
  return true;
}

Token Device::publish(Channel channel, Text payload, const PublishOptions& options) {
  Buffer<kMaxTopicBytes> topic;
  writeTopic(topic, id(), channel);
  return publish(topic.written(), payload, options);
}

Token Device::publish(Text topic, Text payload, const PublishOptions& options) {
  if (!isAwaiting()) progressAt_ = now_;
  return transport_.publish(topic, payload, options);
}

uint32_t Device::retryWaitMs(const Slot& slot) const {
  if (slot.refusals == 0) return 0;
  uint32_t waitMs = kFirstRefusedWaitMs;
  for (uint8_t refusal = 1; refusal < slot.refusals && waitMs < kLongestRefusedWaitMs; ++refusal) waitMs *= 2;
  return left(slot.refusedAt, least(waitMs, kLongestRefusedWaitMs), now_);
}

bool Device::hasUnsent() const {
  Waiting next;
  for (const Slot& slot : slots_) {
    if (slot.isWanted) return true;
  }
  return outbox_.next(next);
}

bool Device::isAwaiting() const {
  for (const Slot& slot : slots_) {
    if (slot.token != kNoToken) return true;
  }
  return outbox_.hasSent();
}

bool Device::report(const Reading* readings, size_t count, Setting qosSetting) {
  const auto qos = static_cast<uint8_t>(settings_.get(qosSetting));
  if (qos == 0 && phase_ != Phase::online) return false;
  Buffer<320> payload;
  writeTelemetry(payload, readings, count, time_.next(), readingSession_, ++seq_);
  if (qos > 0) {
    push(Channel::telemetry, qos, payload.written());
  } else if (publish(Channel::telemetry, payload.written(), {0, false, 0}) == kNoToken) {
    ++dropped_;
  }
  return true;
}

void Device::push(Channel channel, uint8_t qos, Text payload) {
  const bool dropsOldest = settings_.get(Setting::outboxDrop) == kDropOldest;
  dropped_ += outbox_.push({channel, qos, payload}, dropsOldest);
}

void Device::writeInfo(Writer& out) const {
  constexpr Text kResets[] = {"power", "software", "watchdog", "brownout", "sleep", "unknown"};
  out.text("{\"model\":").quoted(node_.model()).text(",\"firmware\":").quoted(kFirmwareVersion);
  out.text(",\"capabilities\":[");
  node_.writeCapabilities(*this, out);
  out.text("],\"reset_reason\":").quoted(kResets[static_cast<uint8_t>(board_.resetReason())]);
  out.text(",\"keep_alive\":").number(keepAliveSeconds_);
  const uint32_t intervalSeconds = node_.intervalSeconds(*this);
  if (intervalSeconds > 0) out.text(",\"interval\":").number(intervalSeconds);
  const Text address = transport_.address();
  if (!address.isEmpty()) out.text(",\"addresses\":[").quoted(address).text("]");
  // What it is told there needs the same rights as what it says: the list grants both.
  Text separator = ",\"topics\":[";
  for (uint8_t index = 0; index <= node_.stateCount(); ++index) {
    State state;
    if (index < node_.stateCount()) {
      node_.writeState(*this, index, state);
    } else if (!node_.writeCommandTopic(*this, state.topic)) {
      continue;
    }
    out.text(separator).quoted(state.topic.written());
    separator = ",";
  }
  if (separator.size == 1) out.text("]");
  out.text(",\"config\":{\"version\":").number(settings_.version());
  if (!lastConfig_.error.isEmpty()) {
    out.text(",\"error\":\"").text(lastConfig_.setting).text(lastConfig_.setting.isEmpty() ? Text{} : Text{" is "});
    out.text(lastConfig_.error).text("\"");
  } else if (lastConfig_.unknown > 0) {
    out.text(",\"unknown\":").number(lastConfig_.unknown);
  }
  out.text("}}");
}

}  // namespace muster
