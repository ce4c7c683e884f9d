#pragma once
// https://docs.espressif.com/projects/esp-idf/en/v5.3/esp32/migration-guides/release-5.x/5.0/system.html
#include <stdint.h>
extern "C" {
void esp_rom_delay_us(uint32_t us);
}
