#include "motion.hpp"

namespace muster {

namespace {

/** Where the board does not tell about changes, the pin is looked at. */
constexpr uint32_t kLookMs = 50;
constexpr uint32_t kWatchedMs = 60000;

}  // namespace

void Motion::begin(Device& device) {
  isWatched_ = device.board().watchPin(kPin);
  isHigh_ = isMoving_ = device.board().readPin(kPin);
  device.stateChanged(0);
}

uint32_t Motion::tick(Device& device) {
  const bool isHigh = device.board().readPin(kPin);
  if (isHigh != isHigh_) {
    isHigh_ = isHigh;
    changedAt_ = device.now();
  }
  const uint32_t idleMs = isWatched_ ? kWatchedMs : kLookMs;
  if (isHigh_ == isMoving_) return idleMs;
  const uint32_t debounceMs = device.settings().get(Setting::debounceMs);
  const uint32_t lastedMs = device.now() - changedAt_;
  if (lastedMs < debounceMs) return debounceMs - lastedMs < idleMs ? debounceMs - lastedMs : idleMs;
  isMoving_ = isHigh_;
  device.stateChanged(0);
  return idleMs;
}

void Motion::writeState(const Device& device, uint8_t, State& state) const {
  writeRoomTopic(state.topic, device.room(), "motion");
  state.payload.text(isMoving_ ? Text{"true"} : Text{"false"});
  state.options = {static_cast<uint8_t>(device.settings().get(Setting::stateQos)), true, 0};
}

}  // namespace muster
