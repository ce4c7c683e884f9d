#pragma once
// The hardware, as the core sees it.

#include "text.hpp"

namespace muster {

/** What a DHT22 measures, in its own units of a tenth (Aosong, AM2302 product manual, section 7). */
struct Climate {
  int16_t temperatureTenths = 0;
  int16_t humidityTenths = 0;
};

/** Why the board started; written into `info`. */
enum class ResetReason : uint8_t { power, software, watchdog, brownout, sleep, unknown };

/** Clock, randomness, sensor, pins, battery, flash and power of one board. Nothing blocks for longer than a sensor
 * takes. */
class Board {
 public:
  /** Milliseconds since the start; wraps after 49.7 days. */
  virtual uint32_t millis() = 0;
  /** Milliseconds since 1970, or 0 without a clock; the core knows a clock that has not been set (`Timekeeper`). */
  virtual uint64_t epochMs() = 0;
  virtual uint32_t random() = 0;
  virtual ResetReason resetReason() = 0;

  /** False when the sensor does not answer or its checksum is wrong. */
  virtual bool readClimate(uint8_t pin, Climate& climate) = 0;
  /** Makes a pin an input; true when each change of it leads to a call of `Device::tick`, so that nobody has to look.
   */
  virtual bool watchPin(uint8_t pin) = 0;
  virtual bool readPin(uint8_t pin) = 0;
  /** Duty of a PWM output in per cent. */
  virtual void writeDuty(uint8_t pin, uint8_t percent) = 0;
  /** Negative without a battery. */
  virtual int32_t batteryMillivolts() = 0;

  /** Bytes read, at most `capacity`; 0 when there is nothing under the key. */
  virtual size_t readFlash(Text key, void* value, size_t capacity) = 0;
  /** Whole or not at all, also when power is lost meanwhile (as NVS of ESP-IDF does); false when it failed. */
  virtual bool writeFlash(Text key, const void* value, size_t size) = 0;

  /**
   * The last thing that is called: lets the network send what it has been handed, and sleeps; starts again after so
   * many seconds, 0 is never.
   */
  virtual void powerDown(uint32_t wakeInSeconds) = 0;
  /** The last thing that is called: as `powerDown`, and starts again at once. */
  virtual void restart() = 0;
  virtual void log(Text line) = 0;

 protected:
  ~Board() = default;
};

}  // namespace muster
