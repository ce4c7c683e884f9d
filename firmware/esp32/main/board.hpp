#pragma once
// The hardware of a board by ESP-IDF: pins, sensor, lamp, battery, flash, sleep.

#include <driver/rmt_rx.h>
#include <esp_adc/adc_cali.h>
#include <esp_adc/adc_oneshot.h>
#include <freertos/FreeRTOS.h>
#include <freertos/queue.h>
#include <freertos/task.h>
#include <nvs.h>

#include "../../core/board.hpp"
#include "transport.hpp"

namespace muster {

/** A DHT22 by the RMT receiver, which measures pulses while the processor does other things. */
class Dht22Reader {
 public:
  /** Blocks for about 10 ms; false when the sensor does not answer or its checksum is wrong. */
  bool read(uint8_t pin, Climate& climate);

 private:
  bool begin(uint8_t pin);
  static bool onReceived(rmt_channel_handle_t channel, const rmt_rx_done_event_data_t* event, void* self);

  /** The sensor's answer has 42 pulses; 64 is also the memory of one channel on an ESP32. */
  static constexpr size_t kSymbols = 64;

  rmt_channel_handle_t channel_ = nullptr;
  QueueHandle_t received_ = nullptr;
  rmt_symbol_word_t symbols_[kSymbols];
};

/** One board; all of it belongs to the task that made it. */
class EspBoard final : public Board {
 public:
  explicit EspBoard(EspTransport& transport);
  EspBoard(const EspBoard&) = delete;
  EspBoard& operator=(const EspBoard&) = delete;

  uint32_t millis() override;
  uint64_t epochMs() override;
  uint32_t random() override;
  ResetReason resetReason() override;
  bool readClimate(uint8_t pin, Climate& climate) override { return dht22_.read(pin, climate); }
  bool watchPin(uint8_t pin) override;
  bool readPin(uint8_t pin) override;
  void writeDuty(uint8_t pin, uint8_t percent) override;
  int32_t batteryMillivolts() override;
  size_t readFlash(Text key, void* value, size_t capacity) override;
  bool writeFlash(Text key, const void* value, size_t size) override;
  void powerDown(uint32_t wakeInSeconds) override;
  void restart() override;
  void log(Text line) override;

  /** The next `powerDown` forgets the Wi-Fi and starts again, to be told another one. */
  void forgetWifiAtPowerDown() { forgetsWifi_ = true; }

 private:
  void beginBattery();
  void leaveNetwork();
  static void onPin(void* owner);

  EspTransport& transport_;
  Dht22Reader dht22_;
  nvs_handle_t flash_ = 0;
  bool hasFlash_ = false;
  bool hasLamp_ = false;
  bool forgetsWifi_ = false;
  adc_oneshot_unit_handle_t converter_ = nullptr;
  adc_cali_handle_t calibration_ = nullptr;
  adc_channel_t batteryChannel_ = ADC_CHANNEL_0;
};

}  // namespace muster
