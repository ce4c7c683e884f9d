// The firmware of a board: an account from flash, a network, and the core in the one task that may touch it.

#include <driver/gpio.h>
#include <esp_log.h>
#include <esp_task_wdt.h>
#include <esp_timer.h>
#include <freertos/FreeRTOS.h>
#include <freertos/task.h>
#include <nvs.h>
#include <nvs_flash.h>
#include <sdkconfig.h>

#include "../../nodes/dht22.hpp"
#include "../../nodes/light.hpp"
#include "../../nodes/motion.hpp"
#include "../../nodes/motion_light.hpp"
#include "board.hpp"
#include "network.hpp"
#include "transport.hpp"
#include "wake.hpp"

namespace {

using namespace muster;

constexpr char kTag[] = "muster";
/** A partition of its own, so that a new account leaves sessions and Wi-Fi as they are, and the other way round. */
constexpr char kAccountPartition[] = "account";
constexpr char kAccountNamespace[] = "muster";
constexpr char kTimeServer[] = "pool.ntp.org";
/** The watchdog is fed at least as often; it bites after CONFIG_ESP_TASK_WDT_TIMEOUT_S. */
constexpr uint32_t kLongestWaitMs = 5000;
constexpr uint64_t kPanelStepUs = 125000;
constexpr uint32_t kForgetSteps = 40;
/** WPA2 and its network names. */
constexpr size_t kSsidBytes = 32;
constexpr size_t kWifiPasswordBytes = 63;

Text textOf(const char* text) { return text == nullptr ? Text() : Text(text, __builtin_strlen(text)); }

/** What the LED shows: one bit for each eighth of a second. */
enum class Sign : uint8_t { nothing = 0x00, noBroker = 0x01, provisioning = 0x55, fault = 0xff };

/** The LED and BOOT. Not every board has either. */
class Panel {
 public:
  void begin(TaskHandle_t owner) {
    owner_ = owner;
    gpio_config_t button = {};
    button.pin_bit_mask = uint64_t{1} << CONFIG_MUSTER_BUTTON_GPIO;
    button.mode = GPIO_MODE_INPUT;
    button.pull_up_en = GPIO_PULLUP_ENABLE;
    ESP_ERROR_CHECK(gpio_config(&button));
    esp_timer_create_args_t timer = {};
    timer.callback = [](void* self) { static_cast<Panel*>(self)->step(); };
    timer.arg = this;
    timer.name = "panel";
    esp_timer_handle_t handle = nullptr;
    ESP_ERROR_CHECK(esp_timer_create(&timer, &handle));
    ESP_ERROR_CHECK(esp_timer_start_periodic(handle, kPanelStepUs));
  }
  /** The LED is a pin of its own from now on. */
  void takeLed() {
#if CONFIG_MUSTER_LED_GPIO >= 0
    gpio_set_direction(static_cast<gpio_num_t>(CONFIG_MUSTER_LED_GPIO), GPIO_MODE_OUTPUT);
    hasLed_ = true;
#endif
  }
  void show(Sign sign) { sign_ = static_cast<uint8_t>(sign); }

 private:
  /** In the task of esp_timer. */
  void step() {
    ++steps_;
#if CONFIG_MUSTER_LED_GPIO >= 0
    const uint32_t level = (sign_ >> steps_ % 8) & 1u;
    if (hasLed_) gpio_set_level(static_cast<gpio_num_t>(CONFIG_MUSTER_LED_GPIO), level);
#endif
    const bool isHeld = gpio_get_level(static_cast<gpio_num_t>(CONFIG_MUSTER_BUTTON_GPIO)) == 0;
    held_ = isHeld ? held_ + 1 : 0;
    if (held_ == kForgetSteps) xTaskNotify(owner_, kWakeForget, eSetBits);
  }

  TaskHandle_t owner_ = nullptr;
  uint32_t steps_ = 0;
  uint32_t held_ = 0;
  volatile bool hasLed_ = false;
  volatile uint8_t sign_ = 0;
};

Panel panel;

/** Says what is wrong until somebody mends it; there is nothing else to do. */
[[noreturn]] void stop(const char* fault) {
  panel.takeLed();
  panel.show(Sign::fault);
  for (;;) {
    ESP_LOGE(kTag, "%s", fault);
    vTaskDelay(pdMS_TO_TICKS(10000));
  }
}

/** What makes this board this device: written by `provisioning.csv`, read once, kept for good. */
struct Account {
  const char* id = nullptr;
  const char* room = nullptr;
  const char* node = nullptr;
  const char* settings = nullptr;
  const char* timeServer = nullptr;
  WifiAccount wifi;
  BrokerAccount broker;
};

/** nullptr where there is nothing under the key, or it is empty. */
const char* readText(nvs_handle_t flash, const char* key) {
  size_t size = 0;
  if (nvs_get_str(flash, key, nullptr, &size) != ESP_OK || size < 2) return nullptr;
  auto* text = static_cast<char*>(pvPortMalloc(size));
  if (text == nullptr || nvs_get_str(flash, key, text, &size) != ESP_OK) stop("account: no memory to read it");
  return text;
}

Account readAccount() {
  nvs_handle_t flash = 0;
  if (nvs_flash_init_partition(kAccountPartition) != ESP_OK ||
      nvs_open_from_partition(kAccountPartition, kAccountNamespace, NVS_READONLY, &flash) != ESP_OK) {
    stop("account: there is none; write provisioning.csv and flash it (docs/firmware.md)");
  }
  Account account;
  account.id = readText(flash, "id");
  account.room = readText(flash, "room");
  account.node = readText(flash, "node");
  account.settings = readText(flash, "settings");
  account.timeServer = readText(flash, "time_server");
  account.wifi.ssid = readText(flash, "wifi_ssid");
  account.wifi.password = readText(flash, "wifi_password");
  account.broker.uri = readText(flash, "broker");
  account.broker.password = readText(flash, "password");
  account.broker.certificateAuthority = readText(flash, "ca");
  account.broker.certificate = readText(flash, "certificate");
  account.broker.key = readText(flash, "key");
  nvs_close(flash);
  if (!isDeviceId(textOf(account.id))) stop("account: id has to be 1 to 64 of the characters A-Z a-z 0-9 _ -");
  if (!isBrokerUri(textOf(account.broker.uri))) stop("account: broker has to be mqtt://HOST:PORT or mqtts://HOST:PORT");
  if ((account.broker.certificate == nullptr) != (account.broker.key == nullptr)) {
    stop("account: certificate and key go together; one of them is missing");
  }
  if (textOf(account.wifi.ssid).size > kSsidBytes || textOf(account.wifi.password).size > kWifiPasswordBytes) {
    stop("account: wifi_ssid has at most 32 bytes, wifi_password at most 63");
  }
  return account;
}

Node& nodeOf(const Account& account) {
  static Dht22 dht22;
  static Light light;
  const Text name = textOf(account.node);
  if (name.isEmpty() || name == "dht22") return dht22;
  if (name == "light") return light;
#if CONFIG_IDF_TARGET_ESP32C3
  stop("account: node has to be dht22 or light; GPIO 13 of an ESP32-C3 belongs to its flash");
#else
  static Motion motion;
  static MotionLight motionLight;
  if (name == "motion") return motion;
  if (name == "motion_light") return motionLight;
  stop("account: node has to be dht22, motion, light or motion_light");
#endif
}

void beginFlash() {
  esp_err_t result = nvs_flash_init();
  // It was written by another version, or was never whole: sessions begin anew, which the monitor understands.
  if (result == ESP_ERR_NVS_NO_FREE_PAGES || result == ESP_ERR_NVS_NEW_VERSION_FOUND) {
    ESP_ERROR_CHECK(nvs_flash_erase());
    result = nvs_flash_init();
  }
  ESP_ERROR_CHECK(result);
}

/** Runs the core for ever. Nothing else calls it: what other tasks have to say waits in the transport, or is a bit. */
[[noreturn]] void run(Device& device, EspBoard& board, EspTransport& transport) {
  ESP_ERROR_CHECK(esp_task_wdt_add(nullptr));
  Phase last = Phase::off;
  for (;;) {
    esp_task_wdt_reset();
    uint32_t waitMs = device.tick();
    while (transport.dispatch(device)) waitMs = device.tick();
    if (device.phase() != last) {
      last = device.phase();
      panel.show(last == Phase::online ? Sign::nothing : Sign::noBroker);
      if (last == Phase::online) ESP_LOGI(kTag, "online");
    }
    if (waitMs > kLongestWaitMs) waitMs = kLongestWaitMs;
    // A tick of FreeRTOS has 10 ms: what is rounded down to none would spin.
    const TickType_t ticks = pdMS_TO_TICKS(waitMs) + (waitMs > 0 ? 1 : 0);
    uint32_t woken = 0;
    xTaskNotifyWait(0, UINT32_MAX, &woken, ticks);
    if ((woken & kWakeForget) != 0) {
      ESP_LOGW(kTag, "BOOT was held for 5 s: the Wi-Fi is forgotten");
      board.forgetWifiAtPowerDown();
      device.shutdown(Goodbye::shutdown, 0);
    }
  }
}

}  // namespace

extern "C" void app_main() {
  beginFlash();
  panel.begin(xTaskGetCurrentTaskHandle());
  const Account account = readAccount();
  Node& node = nodeOf(account);
  // The lamp of a `light` node is on the pin that is the LED of most boards.
  if (textOf(account.node) != "light" || CONFIG_MUSTER_LED_GPIO != Light::kPin) panel.takeLed();
  panel.show(Sign::noBroker);

  static EspTransport transport(account.broker);
  if (!transport.begin(xTaskGetCurrentTaskHandle())) stop("no memory for the network");
  static EspBoard board(transport);
  const Text id = textOf(account.id);
  static Device device(board, transport, node, id, textOf(account.room));
  if (account.settings != nullptr && device.configure(textOf(account.settings)) != Fault::none) {
    stop("account: settings are not settings of a device (docs/firmware.md has their names and limits)");
  }
  joinWifi(account.wifi, [] { panel.show(Sign::provisioning); });
  panel.show(Sign::noBroker);
  keepClock(account.timeServer != nullptr ? account.timeServer : kTimeServer);
  if (device.begin() != Fault::none) stop("account: room has to be 1 to 64 of the characters A-Z a-z 0-9 _ -");
  run(device, board, transport);
}
