#pragma once
// https://docs.espressif.com/projects/esp-idf/en/v5.3/esp32/api-reference/storage/nvs_flash.html
#include "nvs.h"
extern "C" {
esp_err_t nvs_flash_init(void);
esp_err_t nvs_flash_init_partition(const char* partition_label);
esp_err_t nvs_flash_erase(void);
}
