#pragma once
// https://docs.espressif.com/projects/esp-idf/en/v5.3/esp32/api-reference/system/esp_err.html
#include <stddef.h>
#include <stdint.h>

typedef int esp_err_t;
#define ESP_OK 0
#define ESP_ERR_INVALID_STATE 0x103
extern "C" void esp_check_failed(esp_err_t result) __attribute__((noreturn));
// The real one is a macro as well: it prints where it was, and ends the program.
#define ESP_ERROR_CHECK(expression)                                   \
  do {                                                                \
    const esp_err_t result_of_check = (expression);                   \
    if (result_of_check != ESP_OK) esp_check_failed(result_of_check); \
  } while (0)
