#include "dht22.hpp"

namespace muster {

namespace {

/** It answers nothing useful before (AM2302 product manual, section 7: unstable for a second after power). */
constexpr uint32_t kSettleMs = 2000;
/** The range of the sensor; beyond it a bit was read wrong. */
constexpr int16_t kLeastTemperature = -400;
constexpr int16_t kMostTemperature = 800;
constexpr int16_t kMostHumidity = 1000;

int32_t distance(int32_t a, int32_t b) { return a > b ? a - b : b - a; }

bool isPossible(const Climate& climate) {
  return climate.temperatureTenths >= kLeastTemperature && climate.temperatureTenths <= kMostTemperature &&
         climate.humidityTenths >= 0 && climate.humidityTenths <= kMostHumidity;
}

}  // namespace

void Dht22::writeCapabilities(const Device& device, Writer& out) const {
  out.text("\"temp\",\"hum\"");
  if (device.board().batteryMillivolts() >= 0) out.text(",\"vbat\"");
}

uint32_t Dht22::intervalSeconds(const Device& device) const { return device.settings().get(Setting::heartbeatSeconds); }

void Dht22::begin(Device& device) { sampledAt_ = device.now(); }

uint32_t Dht22::tick(Device& device) {
  const uint32_t periodMs = hasSampled_ ? device.settings().milliseconds(Setting::sampleSeconds) : kSettleMs;
  const uint32_t sinceMs = device.now() - sampledAt_;
  if (sinceMs < periodMs) return periodMs - sinceMs;
  sampledAt_ = device.now();
  hasSampled_ = true;
  sample(device);
  sampleBattery(device);
  return device.settings().milliseconds(Setting::sampleSeconds);
}

void Dht22::sample(Device& device) {
  Climate climate;
  if (!device.board().readClimate(kPin, climate) || !isPossible(climate)) {
    ++failedReads_;
    return;
  }
  const Settings& settings = device.settings();
  const auto band = static_cast<int32_t>(settings.get(Setting::temperatureBandTenths));
  const bool isChanged = distance(climate.temperatureTenths, temperatureTenths_) >= band;
  const bool isDue = device.now() - reportedAt_ >= settings.milliseconds(Setting::heartbeatSeconds);
  if (hasReported_ && !isForced_ && !isChanged && !isDue) return;
  const Reading readings[] = {
      {"temp", climate.temperatureTenths, 1},
      {"hum", climate.humidityTenths, 1},
      {"failed_reads", static_cast<int32_t>(failedReads_), 0},
  };
  if (!device.report(readings, failedReads_ == failuresTold_ ? 2 : 3, Setting::telemetryQos)) return;
  failuresTold_ = failedReads_;
  temperatureTenths_ = climate.temperatureTenths;
  reportedAt_ = device.now();
  hasReported_ = true;
  isForced_ = false;
}

void Dht22::sampleBattery(Device& device) {
  const int32_t millivolts = device.board().batteryMillivolts();
  if (millivolts < 0) return;
  const Settings& settings = device.settings();
  const auto band = static_cast<int32_t>(settings.get(Setting::batteryBandMillivolts));
  const bool isChanged = distance(millivolts, batteryMillivolts_) >= band;
  const bool isDue = device.now() - batteryAt_ >= settings.milliseconds(Setting::batterySeconds);
  if (hasBattery_ && !isChanged && !isDue) return;
  // Hundredths of a volt are what the divider and the converter of an ESP32 are good for.
  const Reading reading{"vbat", (millivolts + 5) / 10, 2};
  if (!device.report(&reading, 1, Setting::batteryQos)) return;
  hasBattery_ = true;
  batteryMillivolts_ = millivolts;
  batteryAt_ = device.now();
}

}  // namespace muster
