#include "board.hpp"

#include <driver/gpio.h>
#include <driver/ledc.h>
#include <esp_adc/adc_cali_scheme.h>
#include <esp_log.h>
#include <esp_random.h>
#include <esp_rom_sys.h>
#include <esp_sleep.h>
#include <esp_system.h>
#include <esp_timer.h>
#include <esp_wifi.h>
#include <sdkconfig.h>
#include <sys/time.h>

#include "dht22_pulses.hpp"
#include "network.hpp"
#include "wake.hpp"

namespace muster {

namespace {

constexpr char kTag[] = "board";
constexpr char kStateNamespace[] = "device";
/** NVS keys have at most 15 characters. */
constexpr size_t kKeyCharacters = 15;
/** DISCONNECT and everything before it goes out within this. */
constexpr uint32_t kCloseLimitMs = 3000;

/** The host pulls low for 1 ms at least (AM2302 product manual, section 7). */
constexpr uint32_t kDht22StartUs = 1200;
constexpr uint32_t kDht22LimitMs = 20;
/** Its longest pulse has 80 µs; a line that rests longer has said all. */
constexpr uint32_t kDht22RestNs = 200000;
constexpr uint32_t kGlitchNs = 1000;

/** No flicker, and fine enough for per cents. */
constexpr uint32_t kLampHz = 5000;
constexpr uint32_t kLampFullDuty = 1024;

constexpr int kBatterySamples = 8;

gpio_num_t gpio(uint8_t pin) { return static_cast<gpio_num_t>(pin); }

}  // namespace

bool Dht22Reader::begin(uint8_t pin) {
  if (channel_ != nullptr) return true;
  if (received_ == nullptr) received_ = xQueueCreate(1, sizeof(size_t));
  if (received_ == nullptr) return false;
  rmt_rx_channel_config_t config = {};
  config.gpio_num = gpio(pin);
  config.clk_src = RMT_CLK_SRC_DEFAULT;
  // One tick is a microsecond.
  config.resolution_hz = 1000000;
  config.mem_block_symbols = kSymbols;
  if (rmt_new_rx_channel(&config, &channel_) != ESP_OK) {
    channel_ = nullptr;
    return false;
  }
  rmt_rx_event_callbacks_t callbacks = {};
  callbacks.on_recv_done = onReceived;
  rmt_rx_register_event_callbacks(channel_, &callbacks, this);
  rmt_enable(channel_);
  // The receiver listens; the pin can pull the line down as well, and is let go of by writing a one.
  gpio_set_direction(gpio(pin), GPIO_MODE_INPUT_OUTPUT_OD);
  gpio_set_pull_mode(gpio(pin), GPIO_PULLUP_ONLY);
  gpio_set_level(gpio(pin), 1);
  return true;
}

/** In an interrupt. */
bool Dht22Reader::onReceived(rmt_channel_handle_t, const rmt_rx_done_event_data_t* event, void* self) {
  const size_t count = event->num_symbols;
  BaseType_t hasWoken = pdFALSE;
  xQueueSendFromISR(static_cast<Dht22Reader*>(self)->received_, &count, &hasWoken);
  return hasWoken == pdTRUE;
}

bool Dht22Reader::read(uint8_t pin, Climate& climate) {
  if (!begin(pin)) return false;
  size_t count = 0;
  // What came too late for the last read.
  xQueueReceive(received_, &count, 0);
  gpio_set_level(gpio(pin), 0);
  esp_rom_delay_us(kDht22StartUs);
  rmt_receive_config_t config = {};
  config.signal_range_min_ns = kGlitchNs;
  config.signal_range_max_ns = kDht22RestNs;
  const bool isReceiving = rmt_receive(channel_, symbols_, sizeof symbols_, &config) == ESP_OK;
  gpio_set_level(gpio(pin), 1);
  if (!isReceiving || xQueueReceive(received_, &count, pdMS_TO_TICKS(kDht22LimitMs)) != pdTRUE) {
    // Ends a reception that nothing has come of.
    rmt_disable(channel_);
    rmt_enable(channel_);
    return false;
  }
  uint16_t highUs[kSymbols * 2];
  size_t highs = 0;
  for (size_t index = 0; index < count && index < kSymbols; ++index) {
    const rmt_symbol_word_t& symbol = symbols_[index];
    // The rest at the end has no length.
    if (symbol.level0 != 0 && symbol.duration0 > 0) highUs[highs++] = symbol.duration0;
    if (symbol.level1 != 0 && symbol.duration1 > 0) highUs[highs++] = symbol.duration1;
  }
  return readDht22(highUs, highs, climate);
}

EspBoard::EspBoard(EspTransport& transport) : transport_(transport) {
  hasFlash_ = nvs_open(kStateNamespace, NVS_READWRITE, &flash_) == ESP_OK;
  if (!hasFlash_) ESP_LOGE(kTag, "the partition nvs cannot be opened: sessions will not be kept");
  beginBattery();
}

uint32_t EspBoard::millis() { return static_cast<uint32_t>(esp_timer_get_time() / 1000); }

uint64_t EspBoard::epochMs() {
  timeval now = {};
  gettimeofday(&now, nullptr);
  return static_cast<uint64_t>(now.tv_sec) * 1000 + static_cast<uint64_t>(now.tv_usec) / 1000;
}

uint32_t EspBoard::random() { return esp_random(); }

ResetReason EspBoard::resetReason() {
  switch (esp_reset_reason()) {
    case ESP_RST_POWERON:
    case ESP_RST_EXT: return ResetReason::power;
    case ESP_RST_SW: return ResetReason::software;
    case ESP_RST_INT_WDT:
    case ESP_RST_TASK_WDT:
    case ESP_RST_WDT: return ResetReason::watchdog;
    case ESP_RST_BROWNOUT: return ResetReason::brownout;
    case ESP_RST_DEEPSLEEP: return ResetReason::sleep;
    default: return ResetReason::unknown;
  }
}

bool EspBoard::watchPin(uint8_t pin) {
  gpio_config_t config = {};
  config.pin_bit_mask = uint64_t{1} << pin;
  config.mode = GPIO_MODE_INPUT;
  // Without a sensor nothing moves.
  config.pull_down_en = GPIO_PULLDOWN_ENABLE;
  config.intr_type = GPIO_INTR_ANYEDGE;
  if (gpio_config(&config) != ESP_OK) return false;
  const esp_err_t installed = gpio_install_isr_service(0);
  if (installed != ESP_OK && installed != ESP_ERR_INVALID_STATE) return false;
  return gpio_isr_handler_add(gpio(pin), onPin, xTaskGetCurrentTaskHandle()) == ESP_OK;
}

/** In an interrupt. */
void EspBoard::onPin(void* owner) {
  BaseType_t hasWoken = pdFALSE;
  xTaskNotifyFromISR(static_cast<TaskHandle_t>(owner), kWakePin, eSetBits, &hasWoken);
  portYIELD_FROM_ISR(hasWoken);
}

bool EspBoard::readPin(uint8_t pin) { return gpio_get_level(gpio(pin)) != 0; }

void EspBoard::writeDuty(uint8_t pin, uint8_t percent) {
  if (!hasLamp_) {
    ledc_timer_config_t timer = {};
    timer.speed_mode = LEDC_LOW_SPEED_MODE;
    timer.duty_resolution = LEDC_TIMER_10_BIT;
    timer.timer_num = LEDC_TIMER_0;
    timer.freq_hz = kLampHz;
    timer.clk_cfg = LEDC_AUTO_CLK;
    ledc_channel_config_t channel = {};
    channel.gpio_num = pin;
    channel.speed_mode = LEDC_LOW_SPEED_MODE;
    channel.channel = LEDC_CHANNEL_0;
    channel.timer_sel = LEDC_TIMER_0;
    hasLamp_ = ledc_timer_config(&timer) == ESP_OK && ledc_channel_config(&channel) == ESP_OK;
    if (!hasLamp_) ESP_LOGE(kTag, "GPIO %u cannot be a lamp", unsigned{pin});
  }
  ledc_set_duty(LEDC_LOW_SPEED_MODE, LEDC_CHANNEL_0, kLampFullDuty * percent / 100);
  ledc_update_duty(LEDC_LOW_SPEED_MODE, LEDC_CHANNEL_0);
}

void EspBoard::beginBattery() {
#if CONFIG_MUSTER_BATTERY_GPIO >= 0
  adc_oneshot_unit_init_cfg_t unit = {};
  // The second converter is the radio's while Wi-Fi runs.
  if (adc_oneshot_io_to_channel(CONFIG_MUSTER_BATTERY_GPIO, &unit.unit_id, &batteryChannel_) != ESP_OK ||
      unit.unit_id != ADC_UNIT_1 || adc_oneshot_new_unit(&unit, &converter_) != ESP_OK) {
    ESP_LOGE(kTag, "GPIO %d is no pin of the first converter: no battery voltage", CONFIG_MUSTER_BATTERY_GPIO);
    converter_ = nullptr;
    return;
  }
  adc_oneshot_chan_cfg_t channel = {};
  channel.atten = ADC_ATTEN_DB_12;
  channel.bitwidth = ADC_BITWIDTH_DEFAULT;
  adc_oneshot_config_channel(converter_, batteryChannel_, &channel);
#if ADC_CALI_SCHEME_CURVE_FITTING_SUPPORTED
  adc_cali_curve_fitting_config_t scheme = {};
  scheme.chan = batteryChannel_;
  const auto create = adc_cali_create_scheme_curve_fitting;
#else
  adc_cali_line_fitting_config_t scheme = {};
  const auto create = adc_cali_create_scheme_line_fitting;
#endif
  scheme.unit_id = ADC_UNIT_1;
  scheme.atten = ADC_ATTEN_DB_12;
  scheme.bitwidth = ADC_BITWIDTH_DEFAULT;
  if (create(&scheme, &calibration_) != ESP_OK) {
    ESP_LOGE(kTag, "this chip has no calibration of its converter: no battery voltage");
    calibration_ = nullptr;
  }
#endif
}

int32_t EspBoard::batteryMillivolts() {
  if (calibration_ == nullptr) return -1;
  int sum = 0;
  for (int sample = 0; sample < kBatterySamples; ++sample) {
    int raw = 0;
    int millivolts = 0;
    if (adc_oneshot_read(converter_, batteryChannel_, &raw) != ESP_OK) return -1;
    if (adc_cali_raw_to_voltage(calibration_, raw, &millivolts) != ESP_OK) return -1;
    sum += millivolts;
  }
  return sum / kBatterySamples * CONFIG_MUSTER_BATTERY_DIVIDER_PERCENT / 100;
}

size_t EspBoard::readFlash(Text key, void* value, size_t capacity) {
  if (!hasFlash_ || key.size > kKeyCharacters) return 0;
  char name[kKeyCharacters + 1] = {};
  __builtin_memcpy(name, key.data, key.size);
  size_t size = capacity;
  // What is longer was written by another firmware.
  return nvs_get_blob(flash_, name, value, &size) == ESP_OK ? size : 0;
}

bool EspBoard::writeFlash(Text key, const void* value, size_t size) {
  if (!hasFlash_ || key.size > kKeyCharacters) return false;
  char name[kKeyCharacters + 1] = {};
  __builtin_memcpy(name, key.data, key.size);
  return nvs_set_blob(flash_, name, value, size) == ESP_OK && nvs_commit(flash_) == ESP_OK;
}

void EspBoard::leaveNetwork() {
  transport_.waitUntilClosed(kCloseLimitMs);
  if (forgetsWifi_) {
    forgetWifi();
    esp_restart();
  }
  esp_wifi_stop();
}

void EspBoard::powerDown(uint32_t wakeInSeconds) {
  leaveNetwork();
  if (wakeInSeconds > 0) esp_sleep_enable_timer_wakeup(uint64_t{wakeInSeconds} * 1000000);
  esp_deep_sleep_start();
}

void EspBoard::restart() {
  leaveNetwork();
  esp_restart();
}

void EspBoard::log(Text line) { ESP_LOGI("device", "%.*s", static_cast<int>(line.size), line.data); }

}  // namespace muster
