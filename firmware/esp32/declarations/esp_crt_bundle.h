#pragma once
// https://docs.espressif.com/projects/esp-idf/en/v5.3/esp32/api-reference/protocols/esp_crt_bundle.html
#include "esp_err.h"
extern "C" {
esp_err_t esp_crt_bundle_attach(void* conf);
}
