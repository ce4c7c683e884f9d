#pragma once
// A board, a network and a broker in virtual time: the same script leads to the same trace wherever the core runs.
// libs/simulator/src/scripted-world.ts is its twin; what one does differently, the other's test shows.

#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "../core/device.hpp"

namespace muster {

/** What becomes of what a device sends. */
enum class Network {
  up,
  /** No broker can be reached; a connection that stood is lost at once. */
  down,
  /** Everything is taken and nothing answered: half-open. */
  silent,
};

/** One of the node types by its name; null for a name that is none. */
std::unique_ptr<Node, void (*)(Node*)> makeNode(const std::string& name);

/** What a script says, and the way to play it. Times are milliseconds since it began. */
class World final : public Board, public Transport {
 public:
  /** `script` has the shape of firmware/scripts; throws nlohmann::json::exception where it has not. */
  explicit World(const nlohmann::json& script);
  World(const World&) = delete;

  /** Plays all steps, and then until `endMs`. */
  void run();
  /** Plays until a time; steps of the script included. */
  void runUntil(uint64_t timeMs);
  /** Plays the next thing that happens, and answers false when there is none before `endMs`. */
  bool step();

  /** A line for everything that was sent, with its time. */
  const std::vector<std::string>& trace() const { return trace_; }
  uint64_t nowMs() const { return nowMs_; }
  /** Null while it has no power. */
  Device* device() { return device_.get(); }
  Node* node() { return node_.get(); }

  void powerOn();
  void cutPower();
  void setNetwork(Network network);
  void setClock(uint64_t epochMs) {
    clockMs_ = epochMs;
    clockSetAtMs_ = nowMs_;
  }
  void deliver(const std::string& topic, const std::string& payload, bool isRetained = false);
  void setPin(uint8_t pin, bool isHigh);
  void shutdown(Goodbye reason, uint32_t wakeInSeconds);

  using Flash = std::map<std::string, std::string>;
  Flash flash;
  bool isFlashBroken = false;
  /** Called before and after each effect on the world: a test may throw there, as a loss of power does. */
  std::function<void(const char* what)> onEffect;
  /** From 0x80 on the broker refuses what is published on topics that begin so. */
  std::map<std::string, uint8_t> refusals;
  uint32_t millisAtBoot = 0;
  std::string ownAddress;

  uint32_t millis() override { return static_cast<uint32_t>(nowMs_ - bootedAtMs_) + millisAtBoot; }
  uint64_t epochMs() override { return clockMs_ == 0 ? 0 : clockMs_ + (nowMs_ - clockSetAtMs_); }
  uint32_t random() override;
  ResetReason resetReason() override { return resetReason_; }
  bool readClimate(uint8_t pin, Climate& climate) override;
  bool watchPin(uint8_t) override { return true; }
  bool readPin(uint8_t pin) override { return pins_[pin]; }
  void writeDuty(uint8_t pin, uint8_t percent) override;
  int32_t batteryMillivolts() override { return batteryMillivolts_; }
  size_t readFlash(Text key, void* value, size_t capacity) override;
  bool writeFlash(Text key, const void* value, size_t size) override;
  void powerDown(uint32_t wakeInSeconds) override;
  void restart() override;
  void log(Text) override {}

  void connect(const ConnectOptions& options) override;
  Token publish(Text topic, Text payload, const PublishOptions& options) override;
  void subscribe(Text filter, uint8_t qos) override;
  void disconnect(DisconnectCode code) override;
  Text address() override { return {ownAddress.data(), ownAddress.size()}; }

 private:
  enum class Kind { boot, step, connected, acknowledged, lost };
  struct Event {
    uint64_t atMs;
    Kind kind;
    /** Of the connection it belongs to; events of an older one are void. */
    uint32_t connection;
    uint32_t number;
  };

  void schedule(uint64_t inMs, Kind kind, uint32_t number);
  void happen(const Event& event);
  void play(const nlohmann::json& step);
  void say(const std::string& line);
  void effect(const char* what) {
    if (onEffect) onEffect(what);
  }
  void tickNow() { dueMs_ = nowMs_; }

  nlohmann::json script_;
  std::vector<Event> events_;
  std::vector<std::string> trace_;
  std::map<Token, uint8_t> answers_;
  std::unique_ptr<Node, void (*)(Node*)> node_;
  std::unique_ptr<Device> device_;
  bool pins_[64] = {};
  uint64_t nowMs_ = 0;
  uint64_t dueMs_ = 0;
  uint64_t bootedAtMs_ = 0;
  uint64_t clockMs_ = 0;
  uint64_t clockSetAtMs_ = 0;
  uint64_t endMs_ = 0;
  uint32_t connection_ = 0;
  bool isConnected_ = false;
  uint32_t random_ = 1;
  Token lastToken_ = kNoToken;
  int32_t batteryMillivolts_ = -1;
  Network network_ = Network::up;
  ResetReason resetReason_ = ResetReason::power;
};

}  // namespace muster
