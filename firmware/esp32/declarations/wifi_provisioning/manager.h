#pragma once
// https://docs.espressif.com/projects/esp-idf/en/v5.3/esp32/api-reference/provisioning/wifi_provisioning.html
#include "esp_wifi.h"
extern "C" {
typedef enum {
  WIFI_PROV_INIT,
  WIFI_PROV_START,
  WIFI_PROV_CRED_RECV,
  WIFI_PROV_CRED_FAIL,
  WIFI_PROV_CRED_SUCCESS,
  WIFI_PROV_END,
  WIFI_PROV_DEINIT,
} wifi_prov_cb_event_t;
extern esp_event_base_t const WIFI_PROV_EVENT;
// Declared in wifi_config.h, which manager.h includes.
typedef enum { WIFI_PROV_STA_AUTH_ERROR, WIFI_PROV_STA_AP_NOT_FOUND } wifi_prov_sta_fail_reason_t;
typedef void (*wifi_prov_cb_func_t)(void* user_data, wifi_prov_cb_event_t event, void* event_data);
typedef struct {
  wifi_prov_cb_func_t event_cb;
  void* user_data;
} wifi_prov_event_handler_t;
typedef struct wifi_prov_scheme {
  wifi_mode_t wifi_mode;
} wifi_prov_scheme_t;
typedef struct {
  wifi_prov_scheme_t scheme;
  wifi_prov_event_handler_t scheme_event_handler;
  wifi_prov_event_handler_t app_event_handler;
} wifi_prov_mgr_config_t;
typedef enum wifi_prov_security {
  WIFI_PROV_SECURITY_0,
  WIFI_PROV_SECURITY_1,
  WIFI_PROV_SECURITY_2
} wifi_prov_security_t;
esp_err_t wifi_prov_mgr_init(wifi_prov_mgr_config_t config);
void wifi_prov_mgr_deinit(void);
esp_err_t wifi_prov_mgr_is_provisioned(bool* provisioned);
esp_err_t wifi_prov_mgr_start_provisioning(wifi_prov_security_t security, const void* wifi_prov_sec_params,
                                           const char* service_name, const char* service_key);
void wifi_prov_mgr_wait(void);
esp_err_t wifi_prov_mgr_reset_provisioning(void);
esp_err_t wifi_prov_mgr_reset_sm_state_on_failure(void);
}
