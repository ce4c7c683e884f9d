#pragma once
#include "../core/device.hpp"

namespace muster {

/** A lamp on GPIO 2: obeys `home/{room}/light/command` and keeps `home/{room}/light/state`; brightness by PWM. */
class Light final : public Node {
 public:
  static constexpr uint8_t kPin = 2;

  Text model() const override { return "ESP32 lamp"; }
  void writeCapabilities(const Device&, Writer& out) const override { out.text("\"light\",\"brightness\""); }
  bool needsRoom() const override { return true; }
  void begin(Device& device) override;
  uint32_t tick(Device& device) override;
  uint8_t stateCount() const override { return 1; }
  void writeState(const Device& device, uint8_t index, State& state) const override;
  bool writeCommandTopic(const Device& device, Writer& out) const override;
  void onTopicCommand(Device& device, Text payload) override;
  /** `light` with `{"set":"ON"}`, `{"set":"OFF"}` or `{"set":60}`. */
  Text onCommand(Device& device, Text name, const JsonObject& args) override;

 private:
  bool obey(Device& device, Text text);

  LightCommand shown_;
};

}  // namespace muster
