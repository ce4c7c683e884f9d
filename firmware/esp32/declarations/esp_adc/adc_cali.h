#pragma once
// https://docs.espressif.com/projects/esp-idf/en/v5.3/esp32/api-reference/peripherals/adc_calibration.html
#include "adc_oneshot.h"
extern "C" {
typedef struct adc_cali_scheme_t* adc_cali_handle_t;
esp_err_t adc_cali_raw_to_voltage(adc_cali_handle_t handle, int raw, int* voltage);
}
