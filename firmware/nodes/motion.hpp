#pragma once
#include "../core/device.hpp"

namespace muster {

/** A PIR sensor (HC-SR501) on GPIO 13: `home/{room}/motion`, `true` or `false`, retained. */
class Motion final : public Node {
 public:
  static constexpr uint8_t kPin = 13;

  Text model() const override { return "ESP32 HC-SR501"; }
  void writeCapabilities(const Device&, Writer& out) const override { out.text("\"motion\""); }
  bool needsRoom() const override { return true; }
  void begin(Device& device) override;
  uint32_t tick(Device& device) override;
  uint8_t stateCount() const override { return 1; }
  void writeState(const Device& device, uint8_t index, State& state) const override;

  bool isMoving() const { return isMoving_; }

 private:
  bool isWatched_ = false;
  bool isMoving_ = false;
  /** What the pin shows since `changedAt_`; taken for true when it has lasted. */
  bool isHigh_ = false;
  uint32_t changedAt_ = 0;
};

}  // namespace muster
