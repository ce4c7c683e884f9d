#pragma once
// What a device is made of besides its connection: its sensor or its actuator.

#include "contract.hpp"
#include "json.hpp"
#include "transport.hpp"

namespace muster {

class Device;

/** A topic on which only the newest message counts: what a lamp shows, whether something moves. */
struct State {
  Buffer<kMaxTopicBytes> topic;
  Buffer<16> payload;
  PublishOptions options;
};

/** What a tick answers where nothing is due until something happens. */
constexpr uint32_t kNever = UINT32_MAX;

/** A node has at most so many. */
constexpr uint8_t kMaxNodeStates = 2;

/** One kind of device. */
class Node {
 public:
  virtual Text model() const = 0;
  /** JSON strings with commas between: `"temp","hum"`. */
  virtual void writeCapabilities(const Device& device, Writer& out) const = 0;
  /** The longest time between two of its telemetry messages in seconds, where it sends them regularly; 0 where it does not. */
  virtual uint32_t intervalSeconds(const Device&) const { return 0; }
  /** Whether its topics are named after a room. */
  virtual bool needsRoom() const { return false; }
  virtual void begin(Device& device) = 0;
  /** Does what is due; answers in how many milliseconds something will be. */
  virtual uint32_t tick(Device& device) = 0;
  /** Whether it has nothing left to do before a sleep. */
  virtual bool isDone() const { return true; }
  /** Tells the readings that it takes next, whether they have changed or not. */
  virtual void reportSoon() {}

  virtual uint8_t stateCount() const { return 0; }
  /** Written when it is sent, so that nothing old is. */
  virtual void writeState(const Device& device, uint8_t index, State& state) const;

  /** The topic outside of its own on which it is told something; false without one. */
  virtual bool writeCommandTopic(const Device& device, Writer& out) const;
  virtual void onTopicCommand(Device& device, Text payload);
  /** Does a command of `devices/{id}/command`; answers what is wrong, nothing where it is done. */
  virtual Text onCommand(Device& device, Text name, const JsonObject& args);

 protected:
  ~Node() = default;
};

inline void Node::writeState(const Device&, uint8_t, State&) const {}
inline bool Node::writeCommandTopic(const Device&, Writer&) const { return false; }
inline void Node::onTopicCommand(Device&, Text) {}
inline Text Node::onCommand(Device&, Text, const JsonObject&) { return "unknown command"; }

}  // namespace muster
