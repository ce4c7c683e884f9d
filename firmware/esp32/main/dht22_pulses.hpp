#pragma once
// What a DHT22 says, in pulses (Aosong, AM2302 product manual, section 7).

#include "../../core/board.hpp"

namespace muster {

constexpr size_t kDht22Bits = 40;
/** A high pulse of about 26 µs is a zero, one of about 70 µs is a one. */
constexpr uint16_t kDht22OneUs = 48;

/**
 * Reads 40 bits from the lengths of the high pulses, in microseconds; what comes before the last 40 is the sensor
 * saying that it is there. False when there are fewer, or the checksum is wrong.
 */
inline bool readDht22(const uint16_t* highUs, size_t count, Climate& climate) {
  if (count < kDht22Bits) return false;
  const uint16_t* bits = highUs + (count - kDht22Bits);
  uint8_t bytes[kDht22Bits / 8] = {};
  for (size_t bit = 0; bit < kDht22Bits; ++bit) {
    const unsigned shifted = bytes[bit / 8] * 2u + (bits[bit] >= kDht22OneUs ? 1u : 0u);
    bytes[bit / 8] = static_cast<uint8_t>(shifted);
  }
  if (static_cast<uint8_t>(bytes[0] + bytes[1] + bytes[2] + bytes[3]) != bytes[4]) return false;
  const int magnitude = (bytes[2] & 0x7f) * 256 + bytes[3];
  climate.humidityTenths = static_cast<int16_t>(bytes[0] * 256 + bytes[1]);
  climate.temperatureTenths = static_cast<int16_t>((bytes[2] & 0x80) != 0 ? -magnitude : magnitude);
  return true;
}

}  // namespace muster
