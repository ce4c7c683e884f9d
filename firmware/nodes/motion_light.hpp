#pragma once
#include "motion.hpp"

namespace muster {

/**
 * A motion sensor that switches the lamp of its room itself, without the monitor: ON when motion begins, OFF so many
 * seconds after the last motion, once (mqtt-pitfalls S1).
 */
class MotionLight final : public Node {
 public:
  Text model() const override { return "ESP32 HC-SR501 with lamp"; }
  void writeCapabilities(const Device&, Writer& out) const override { out.text("\"motion\",\"light\""); }
  bool needsRoom() const override { return true; }
  void begin(Device& device) override { motion_.begin(device); }
  uint32_t tick(Device& device) override;
  uint8_t stateCount() const override { return 2; }
  void writeState(const Device& device, uint8_t index, State& state) const override;

 private:
  Motion motion_;
  bool wasMoving_ = false;
  bool isLit_ = false;
  uint32_t lastMotionAt_ = 0;
};

}  // namespace muster
