#include "motion_light.hpp"

namespace muster {

namespace {

constexpr uint8_t kLight = 1;
/** A command that comes later is about a motion that is over (design: Shards). */
constexpr uint32_t kExpirySeconds = 5;

}  // namespace

uint32_t MotionLight::tick(Device& device) {
  uint32_t waitMs = motion_.tick(device);
  const bool begins = motion_.isMoving() && !wasMoving_;
  if (motion_.isMoving() || wasMoving_) lastMotionAt_ = device.now();
  wasMoving_ = motion_.isMoving();
  if (begins) {
    isLit_ = true;
    device.stateChanged(kLight);
  }
  if (!isLit_ || motion_.isMoving()) return waitMs;
  const uint32_t offMs = device.settings().milliseconds(Setting::lightOffSeconds);
  const uint32_t idleMs = device.now() - lastMotionAt_;
  if (idleMs >= offMs) {
    isLit_ = false;
    device.stateChanged(kLight);
  } else if (offMs - idleMs < waitMs) {
    waitMs = offMs - idleMs;
  }
  return waitMs;
}

void MotionLight::writeState(const Device& device, uint8_t index, State& state) const {
  if (index != kLight) {
    motion_.writeState(device, index, state);
    return;
  }
  writeRoomTopic(state.topic, device.room(), "light/command");
  state.payload.text(isLit_ ? Text{"ON"} : Text{"OFF"});
  state.options = {1, false, kExpirySeconds};
}

}  // namespace muster
