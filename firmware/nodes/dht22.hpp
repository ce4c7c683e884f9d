#pragma once
#include "../core/device.hpp"

namespace muster {

/** A DHT22 on GPIO 4: temperature and humidity when they change or a time has passed, and the battery. */
class Dht22 final : public Node {
 public:
  static constexpr uint8_t kPin = 4;

  Text model() const override { return "ESP32 DHT22"; }
  void writeCapabilities(const Device& device, Writer& out) const override;
  uint32_t intervalSeconds(const Device& device) const override;
  void begin(Device& device) override;
  uint32_t tick(Device& device) override;
  bool isDone() const override { return hasReported_; }
  void reportSoon() override { isForced_ = true; }

  /** Reads that failed or gave what cannot be, since the start. */
  uint32_t failedReads() const { return failedReads_; }

 private:
  void sample(Device& device);
  void sampleBattery(Device& device);

  uint32_t sampledAt_ = 0;
  uint32_t reportedAt_ = 0;
  uint32_t batteryAt_ = 0;
  int32_t batteryMillivolts_ = 0;
  uint32_t failedReads_ = 0;
  uint32_t failuresTold_ = 0;
  int16_t temperatureTenths_ = 0;
  bool hasSampled_ = false;
  bool hasReported_ = false;
  bool hasBattery_ = false;
  bool isForced_ = false;
};

}  // namespace muster
