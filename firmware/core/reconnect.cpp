#include "reconnect.hpp"

namespace muster {

namespace {

constexpr uint32_t kLeastBackOffMs = 5000;
constexpr uint32_t kMostBackOffMs = 30000;

}  // namespace

uint32_t Reconnect::lost(LostReason reason, uint32_t livedMs, uint32_t random) {
  if (livedMs >= kShortLivedMs) {
    failures_ = 0;
    shortLived_ = 0;
  } else if (livedMs > 0 && shortLived_ < UINT8_MAX) {
    ++shortLived_;
  }
  uint32_t ceiling = kFirstCeilingMs;
  for (uint8_t failure = 0; failure < failures_ && ceiling < kLongestWaitMs; ++failure) ceiling *= 2;
  if (ceiling > kLongestWaitMs) ceiling = kLongestWaitMs;
  if (failures_ < UINT8_MAX) ++failures_;
  // Two owners of one id would kick each other for ever (mqtt-pitfalls P12).
  const bool isContested = reason == LostReason::takenOver || shortLived_ >= 2;
  const bool backsOff = isContested || reason == LostReason::refused;
  const uint32_t least = backsOff ? kLeastBackOffMs : kLeastWaitMs;
  const uint32_t most = backsOff && ceiling < kMostBackOffMs ? kMostBackOffMs : ceiling;
  return least + random % (most - least + 1);
}

}  // namespace muster
