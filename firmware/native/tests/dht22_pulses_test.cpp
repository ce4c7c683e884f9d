#include "../../esp32/main/dht22_pulses.hpp"

#include <gtest/gtest.h>

#include <initializer_list>
#include <vector>

namespace muster {
namespace {

/** High pulses as the sensor makes them: that of its answer, then 26 µs for each zero and 70 µs for each one. */
std::vector<uint16_t> pulsesOf(std::initializer_list<uint8_t> bytes) {
  std::vector<uint16_t> pulses = {80};
  for (const uint8_t byte : bytes) {
    for (int bit = 7; bit >= 0; --bit) pulses.push_back((byte >> bit & 1) != 0 ? 70 : 26);
  }
  return pulses;
}

TEST(ADht22, SaysHumidityAndTemperatureInTenthsAsItsManualShows) {
  // AM2302 product manual, section 7: 65.2 %RH and 35.1 °C; and with the highest bit set, below zero.
  struct Case {
    std::initializer_list<uint8_t> bytes;
    int16_t humidity;
    int16_t temperature;
  };
  const Case cases[] = {
      {{0x02, 0x8c, 0x01, 0x5f, 0xee}, 652, 351},
      {{0x02, 0x8c, 0x80, 0x65, 0x73}, 652, -101},
      {{0x00, 0x00, 0x00, 0x00, 0x00}, 0, 0},
  };
  for (const Case& expected : cases) {
    const std::vector<uint16_t> pulses = pulsesOf(expected.bytes);
    Climate climate;
    ASSERT_TRUE(readDht22(pulses.data(), pulses.size(), climate));
    EXPECT_EQ(climate.humidityTenths, expected.humidity);
    EXPECT_EQ(climate.temperatureTenths, expected.temperature);
  }
}

TEST(ADht22, IsNotBelievedWhenAnyOneBitIsReadWrong) {
  const std::vector<uint16_t> good = pulsesOf({0x02, 0x8c, 0x01, 0x5f, 0xee});
  for (size_t bit = 1; bit < good.size(); ++bit) {
    std::vector<uint16_t> pulses = good;
    pulses[bit] = pulses[bit] > kDht22OneUs ? 26 : 70;
    Climate climate;
    EXPECT_FALSE(readDht22(pulses.data(), pulses.size(), climate)) << "bit " << bit;
  }
}

TEST(ADht22, NeedsAllItsBitsAndIgnoresWhatComesBefore) {
  std::vector<uint16_t> pulses = pulsesOf({0x02, 0x8c, 0x01, 0x5f, 0xee});
  Climate climate;
  // Where the first edge was missed, the answer's pulse is not there; the bits are.
  EXPECT_TRUE(readDht22(pulses.data() + 1, pulses.size() - 1, climate));
  EXPECT_FALSE(readDht22(pulses.data() + 2, pulses.size() - 2, climate));
  EXPECT_FALSE(readDht22(pulses.data(), 0, climate));
  pulses.insert(pulses.begin(), 30);
  EXPECT_TRUE(readDht22(pulses.data(), pulses.size(), climate));
  EXPECT_EQ(climate.temperatureTenths, 351);
}

}  // namespace
}  // namespace muster
