#pragma once
// https://docs.espressif.com/projects/esp-idf/en/v5.3/esp32/api-reference/system/random.html
#include <stdint.h>
extern "C" {
uint32_t esp_random(void);
}
