#include "world.hpp"

#include <algorithm>

#include "../nodes/dht22.hpp"
#include "../nodes/light.hpp"
#include "../nodes/motion.hpp"
#include "../nodes/motion_light.hpp"

namespace muster {

namespace {

constexpr uint64_t kConnectMs = 20;
constexpr uint64_t kUnreachedMs = 10;
constexpr uint64_t kAcknowledgeMs = 30;
constexpr uint64_t kRestartMs = 1000;

std::string str(Text text) { return {text.data, text.size}; }
Text text(const std::string& string) { return {string.data(), string.size()}; }

template <typename T>
std::unique_ptr<Node, void (*)(Node*)> make() {
  return {new T(), [](Node* node) { delete static_cast<T*>(node); }};
}

Network networkOf(const std::string& name) {
  return name == "down" ? Network::down : name == "silent" ? Network::silent : Network::up;
}

Goodbye goodbyeOf(const std::string& name) {
  return name == "sleep" ? Goodbye::sleep : name == "update" ? Goodbye::update : Goodbye::shutdown;
}

/** Up in `riseMs` and down again in the rest of a period, in whole numbers: no rounding that differs between machines.
 */
int16_t waveAt(const nlohmann::json& range, int64_t sinceMs, int64_t riseMs, int64_t periodMs) {
  const int64_t low = range[0];
  const int64_t height = range[1].get<int64_t>() - low;
  const int64_t phase = sinceMs % periodMs;
  const int64_t up = height * phase / riseMs;
  const int64_t down = height * (periodMs - phase) / (periodMs - riseMs);
  return static_cast<int16_t>(low + (phase < riseMs ? up : down));
}

}  // namespace

std::unique_ptr<Node, void (*)(Node*)> makeNode(const std::string& name) {
  if (name == "dht22") return make<Dht22>();
  if (name == "motion") return make<Motion>();
  if (name == "light") return make<Light>();
  if (name == "motion_light") return make<MotionLight>();
  return {nullptr, [](Node*) {}};
}

World::World(const nlohmann::json& script) : script_(script), node_(nullptr, [](Node*) {}) {
  endMs_ = script.at("endMs");
  random_ = script.value("seed", 1u);
  clockMs_ = script.value("clockMs", uint64_t{0});
  millisAtBoot = script.value("millisAtBoot", 0u);
  batteryMillivolts_ = script.value("batteryMillivolts", -1);
  schedule(0, Kind::boot, 0);
  if (!script.contains("steps")) return;
  uint32_t number = 0;
  for (const auto& step : script["steps"]) schedule(step.at("atMs"), Kind::step, number++);
}

void World::run() { runUntil(endMs_); }

void World::runUntil(uint64_t timeMs) {
  endMs_ = timeMs;
  while (step()) {
  }
  nowMs_ = timeMs;
}

bool World::step() {
  // Events of one time in the order in which they were scheduled, and all before the device's own tick.
  const auto next =
      std::min_element(events_.begin(), events_.end(), [](const Event& a, const Event& b) { return a.atMs < b.atMs; });
  const bool hasTick = device_ != nullptr && dueMs_ != UINT64_MAX;
  if (next != events_.end() && (!hasTick || next->atMs <= dueMs_)) {
    if (next->atMs > endMs_) return false;
    const Event event = *next;
    events_.erase(next);
    nowMs_ = event.atMs;
    happen(event);
    return true;
  }
  if (!hasTick || dueMs_ > endMs_) return false;
  nowMs_ = dueMs_;
  dueMs_ = UINT64_MAX;
  const uint32_t waitMs = device_->tick();
  // Losing power is the last thing it did.
  if (device_->phase() == Phase::off) {
    cutPower();
  } else {
    dueMs_ = std::min(dueMs_, nowMs_ + std::max<uint64_t>(waitMs, 1));
  }
  return true;
}

void World::schedule(uint64_t inMs, Kind kind, uint32_t number) {
  events_.push_back({nowMs_ + inMs, kind, connection_, number});
}

void World::happen(const Event& event) {
  if (event.kind == Kind::boot) return powerOn();
  if (event.kind == Kind::step) return play(script_["steps"][event.number]);
  if (event.connection != connection_ || device_ == nullptr) return;
  tickNow();
  if (event.kind == Kind::connected) {
    isConnected_ = true;
    device_->onConnected();
  } else if (event.kind == Kind::acknowledged) {
    device_->onAcknowledged(event.number, answers_[event.number]);
  } else {
    isConnected_ = false;
    ++connection_;
    device_->onDisconnected(static_cast<LostReason>(event.number));
  }
}

void World::play(const nlohmann::json& step) {
  const std::string what = step.at("do");
  if (what == "network") setNetwork(networkOf(step.at("to")));
  if (what == "message") deliver(step.at("topic"), step.at("payload"), step.value("retained", false));
  if (what == "clock") setClock(step.at("epochMs"));
  if (what == "pin") setPin(step.at("pin"), step.at("high"));
  if (what == "battery") batteryMillivolts_ = step.at("millivolts");
  if (what == "power-cut") cutPower();
  if (what == "power-on") powerOn();
  if (what == "shutdown") shutdown(goodbyeOf(step.at("reason")), step.value("wakeInSeconds", 0u));
}

void World::powerOn() {
  if (device_ != nullptr) return;
  const auto& device = script_.at("device");
  const std::string id = device.at("id");
  const std::string room = device.value("room", "");
  node_ = makeNode(device.at("node"));
  if (node_ == nullptr) throw std::invalid_argument("no such node: " + device.at("node").get<std::string>());
  bootedAtMs_ = nowMs_;
  device_ = std::make_unique<Device>(*this, *this, *node_, text(id), text(room));
  say("boot");
  const std::string settings = script_.contains("settings") ? script_["settings"].dump() : "{}";
  if (device_->configure(text(settings)) != Fault::none) throw std::invalid_argument("settings: " + settings);
  if (const Fault fault = device_->begin(); fault != Fault::none) {
    throw std::invalid_argument("the device cannot begin: " + std::to_string(static_cast<int>(fault)));
  }
  tickNow();
}

void World::cutPower() {
  if (device_ == nullptr) return;
  ++connection_;
  isConnected_ = false;
  resetReason_ = ResetReason::power;
  device_.reset();
  node_.reset();
}

void World::setNetwork(Network network) {
  network_ = network;
  if (network == Network::down && isConnected_) schedule(0, Kind::lost, static_cast<uint32_t>(LostReason::network));
}

void World::deliver(const std::string& topic, const std::string& payload, bool isRetained) {
  if (!isConnected_ || device_ == nullptr) return;
  say("message " + topic + (isRetained ? " retained " : " ") + payload);
  tickNow();
  device_->onMessage(text(topic), text(payload), isRetained);
}

void World::setPin(uint8_t pin, bool isHigh) {
  pins_[pin] = isHigh;
  tickNow();
}

void World::shutdown(Goodbye reason, uint32_t wakeInSeconds) {
  if (device_ == nullptr) return;
  tickNow();
  device_->shutdown(reason, wakeInSeconds);
}

void World::say(const std::string& line) { trace_.push_back(std::to_string(nowMs_) + " " + line); }

uint32_t World::random() {
  // xorshift32 (Marsaglia, "Xorshift RNGs", 2003).
  random_ ^= random_ << 13;
  random_ ^= random_ >> 17;
  random_ ^= random_ << 5;
  return random_;
}

bool World::readClimate(uint8_t, Climate& climate) {
  if (!script_.contains("climate")) return false;
  const nlohmann::json* current = nullptr;
  for (const auto& segment : script_["climate"]) {
    if (segment.at("fromMs").get<uint64_t>() <= nowMs_) current = &segment;
  }
  if (current == nullptr || current->value("fails", false)) return false;
  const auto sinceMs = static_cast<int64_t>(nowMs_ - current->at("fromMs").get<uint64_t>());
  const int64_t riseMs = current->at("riseMs");
  const int64_t periodMs = current->at("periodMs");
  climate = {waveAt(current->at("temp"), sinceMs, riseMs, periodMs),
             waveAt(current->at("hum"), sinceMs, riseMs, periodMs)};
  return true;
}

void World::writeDuty(uint8_t pin, uint8_t percent) {
  say("duty " + std::to_string(pin) + " " + std::to_string(percent));
}

size_t World::readFlash(Text key, void* value, size_t capacity) {
  const auto found = flash.find(str(key));
  if (found == flash.end()) return 0;
  const size_t size = std::min(capacity, found->second.size());
  std::copy_n(found->second.data(), size, static_cast<char*>(value));
  return size;
}

bool World::writeFlash(Text key, const void* value, size_t size) {
  effect("before flash");
  if (isFlashBroken) return false;
  flash[str(key)].assign(static_cast<const char*>(value), size);
  effect("after flash");
  return true;
}

void World::powerDown(uint32_t wakeInSeconds) {
  say("power-down " + std::to_string(wakeInSeconds));
  tickNow();
  if (wakeInSeconds > 0) schedule(uint64_t{wakeInSeconds} * 1000, Kind::boot, 0);
}

void World::restart() {
  say("restart");
  tickNow();
  schedule(kRestartMs, Kind::boot, 0);
}

void World::connect(const ConnectOptions& options) {
  effect("before connect");
  ++connection_;
  lastToken_ = kNoToken;
  answers_.clear();
  say("connect " + str(options.clientId) + " keep-alive=" + std::to_string(options.keepAliveSeconds) +
      " session-expiry=" + std::to_string(options.sessionExpirySeconds) + " will=" + str(options.willTopic) + " " +
      str(options.willPayload));
  if (network_ == Network::up) schedule(kConnectMs, Kind::connected, 0);
  if (network_ == Network::down) schedule(kUnreachedMs, Kind::lost, static_cast<uint32_t>(LostReason::unreached));
  effect("after connect");
}

Token World::publish(Text topic, Text payload, const PublishOptions& options) {
  effect("before publish");
  say("publish " + str(topic) + " qos=" + std::to_string(options.qos) + (options.isRetained ? " retained" : "") +
      (options.expirySeconds > 0 ? " expiry=" + std::to_string(options.expirySeconds) : "") + " " + str(payload));
  const Token token = ++lastToken_;
  for (const auto& [prefix, reason] : refusals) {
    if (str(topic).rfind(prefix, 0) == 0) answers_[token] = reason;
  }
  if (network_ == Network::up && options.qos > 0) schedule(kAcknowledgeMs, Kind::acknowledged, token);
  effect("after publish");
  return token;
}

void World::subscribe(Text filter, uint8_t qos) {
  effect("before subscribe");
  say("subscribe " + str(filter) + " qos=" + std::to_string(qos));
}

void World::disconnect(DisconnectCode code) {
  effect("before disconnect");
  isConnected_ = false;
  ++connection_;
  say(code == DisconnectCode::normal ? "disconnect 0x00" : "disconnect 0x04");
  effect("after disconnect");
}

}  // namespace muster
