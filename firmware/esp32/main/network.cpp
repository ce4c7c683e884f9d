#include "network.hpp"

#include <esp_event.h>
#include <esp_log.h>
#include <esp_netif.h>
#include <esp_netif_sntp.h>
#include <esp_random.h>
#include <esp_wifi.h>
#include <nvs.h>
#include <wifi_provisioning/manager.h>
#include <wifi_provisioning/scheme_softap.h>

namespace muster {

namespace {

constexpr char kTag[] = "wifi";
constexpr char kProvisioningNamespace[] = "provisioning";
constexpr char kProofKey[] = "proof";
/** 32 characters that cannot be taken for each other: 5 bits each, and WPA2 wants eight. */
constexpr char kProofAlphabet[] = "abcdefghjkmnpqrstuvwxyz23456789x";
constexpr size_t kProofCharacters = 10;

/** While provisioning tries what it was told, it connects by itself. */
volatile bool isJoining = false;
/** In the order of the network; written by the task of events. */
volatile uint32_t ownAddress = 0;

void onWifi(void*, esp_event_base_t, int32_t event, void* data) {
  if (event == WIFI_EVENT_STA_START && isJoining) esp_wifi_connect();
  if (event == WIFI_EVENT_STA_DISCONNECTED && isJoining) {
    const auto& lost = *static_cast<const wifi_event_sta_disconnected_t*>(data);
    ESP_LOGW(kTag, "no Wi-Fi (reason %u): trying again", unsigned{lost.reason});
    // Each try scans for seconds, so that this does not spin.
    esp_wifi_connect();
  }
}

void onAddress(void*, esp_event_base_t, int32_t, void* data) {
  ownAddress = static_cast<const ip_event_got_ip_t*>(data)->ip_info.ip.addr;
  ESP_LOGI(kTag, "joined");
}

void onProvisioned(void*, esp_event_base_t, int32_t event, void* data) {
  if (event == WIFI_PROV_CRED_SUCCESS) ESP_LOGI(kTag, "provisioned");
  if (event == WIFI_PROV_CRED_FAIL) {
    const auto reason = *static_cast<const wifi_prov_sta_fail_reason_t*>(data);
    ESP_LOGE(kTag, "%s: say it again",
             reason == WIFI_PROV_STA_AUTH_ERROR ? "the Wi-Fi refuses the password" : "there is no Wi-Fi of that name");
    wifi_prov_mgr_reset_sm_state_on_failure();
  }
}

/** Made once for each board, when its radio gives true randomness; shown on the serial line alone. */
void readProof(char (&proof)[kProofCharacters + 1]) {
  nvs_handle_t flash = 0;
  ESP_ERROR_CHECK(nvs_open(kProvisioningNamespace, NVS_READWRITE, &flash));
  size_t size = sizeof proof;
  if (nvs_get_str(flash, kProofKey, proof, &size) != ESP_OK) {
    for (size_t at = 0; at < kProofCharacters; ++at) proof[at] = kProofAlphabet[esp_random() % 32];
    proof[kProofCharacters] = '\0';
    ESP_ERROR_CHECK(nvs_set_str(flash, kProofKey, proof));
    ESP_ERROR_CHECK(nvs_commit(flash));
  }
  nvs_close(flash);
}

/** `MUSTER_` and the end of the board's address, so that two boards side by side are told apart. */
void writeServiceName(char (&name)[14]) {
  constexpr char kHex[] = "0123456789ABCDEF";
  uint8_t address[6] = {};
  ESP_ERROR_CHECK(esp_wifi_get_mac(WIFI_IF_STA, address));
  __builtin_memcpy(name, "MUSTER_", 7);
  for (size_t index = 0; index < 3; ++index) {
    name[7 + index * 2] = kHex[address[3 + index] >> 4];
    name[8 + index * 2] = kHex[address[3 + index] & 0x0f];
  }
  name[13] = '\0';
}

void provision(void (*onProvisioning)()) {
  onProvisioning();
  char proof[kProofCharacters + 1];
  char name[14];
  readProof(proof);
  writeServiceName(name);
  ESP_LOGW(kTag, "no Wi-Fi is known. Join %s with the password %s,", name, proof);
  ESP_LOGW(kTag, "and use the app ESP SoftAP Prov with the proof of possession %s", proof);
  // The same secret opens the network and proves possession: who reads the serial line has the board in hand.
  ESP_ERROR_CHECK(wifi_prov_mgr_start_provisioning(WIFI_PROV_SECURITY_1, proof, name, proof));
  wifi_prov_mgr_wait();
}

/** Fills a field of the driver, which needs no zero at its end. */
template <size_t Capacity>
void fill(uint8_t (&field)[Capacity], const char* text) {
  if (text == nullptr) return;
  const size_t length = __builtin_strlen(text);
  __builtin_memcpy(field, text, length < Capacity ? length : Capacity);
}

}  // namespace

void joinWifi(const WifiAccount& account, void (*onProvisioning)()) {
  ESP_ERROR_CHECK(esp_netif_init());
  ESP_ERROR_CHECK(esp_event_loop_create_default());
  ESP_ERROR_CHECK(esp_event_handler_register(WIFI_EVENT, ESP_EVENT_ANY_ID, onWifi, nullptr));
  ESP_ERROR_CHECK(esp_event_handler_register(IP_EVENT, IP_EVENT_STA_GOT_IP, onAddress, nullptr));
  ESP_ERROR_CHECK(esp_event_handler_register(WIFI_PROV_EVENT, ESP_EVENT_ANY_ID, onProvisioned, nullptr));
  esp_netif_create_default_wifi_sta();
  esp_netif_create_default_wifi_ap();
  const wifi_init_config_t driver = WIFI_INIT_CONFIG_DEFAULT();
  ESP_ERROR_CHECK(esp_wifi_init(&driver));

  if (account.ssid != nullptr) {
    wifi_config_t config = {};
    fill(config.sta.ssid, account.ssid);
    fill(config.sta.password, account.password);
    // It stays where it is: in the account.
    ESP_ERROR_CHECK(esp_wifi_set_storage(WIFI_STORAGE_RAM));
    ESP_ERROR_CHECK(esp_wifi_set_mode(WIFI_MODE_STA));
    ESP_ERROR_CHECK(esp_wifi_set_config(WIFI_IF_STA, &config));
    isJoining = true;
    ESP_ERROR_CHECK(esp_wifi_start());
    return;
  }
  wifi_prov_mgr_config_t manager = {};
  manager.scheme = wifi_prov_scheme_softap;
  ESP_ERROR_CHECK(wifi_prov_mgr_init(manager));
  bool isProvisioned = false;
  ESP_ERROR_CHECK(wifi_prov_mgr_is_provisioned(&isProvisioned));
  ESP_ERROR_CHECK(esp_wifi_set_mode(WIFI_MODE_STA));
  isJoining = isProvisioned;
  ESP_ERROR_CHECK(esp_wifi_start());
  if (!isProvisioned) provision(onProvisioning);
  isJoining = true;
  wifi_prov_mgr_deinit();
}

void keepClock(const char* timeServer) {
  esp_sntp_config_t config = {};
  config.start = true;
  config.num_of_servers = 1;
  config.servers[0] = timeServer;
  if (esp_netif_sntp_init(&config) != ESP_OK) ESP_LOGE(kTag, "no clock: readings carry the time since the start");
}

void writeAddress(char (&text)[16]) {
  const esp_ip4_addr_t address = {ownAddress};
  if (address.addr == 0 || esp_ip4addr_ntoa(&address, text, sizeof text) == nullptr) text[0] = '\0';
}

void forgetWifi() {
  if (wifi_prov_mgr_reset_provisioning() != ESP_OK) ESP_LOGE(kTag, "the Wi-Fi could not be forgotten");
}

}  // namespace muster
