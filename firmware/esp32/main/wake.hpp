#pragma once
// What wakes the one task that owns the core: bits of its notification (FreeRTOS, xTaskNotify).

#include <stdint.h>

namespace muster {

/** The transport has something to tell. */
constexpr uint32_t kWakeNetwork = 1 << 0;
/** A watched pin has changed. */
constexpr uint32_t kWakePin = 1 << 1;
/** BOOT was held long enough to forget the Wi-Fi. */
constexpr uint32_t kWakeForget = 1 << 2;

}  // namespace muster
