#pragma once
// https://docs.espressif.com/projects/esp-idf/en/v5.3/esp32/api-reference/provisioning/wifi_provisioning.html
#include "manager.h"
extern "C" {
extern const wifi_prov_scheme_t wifi_prov_scheme_softap;
}
