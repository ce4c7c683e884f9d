#pragma once
// https://docs.espressif.com/projects/esp-idf/en/v5.3/esp32/api-reference/system/freertos_idf.html (FreeRTOS V10.5.1;
// configTICK_RATE_HZ is CONFIG_FREERTOS_HZ)
#include <stddef.h>
#include <stdint.h>
extern "C" {
typedef int BaseType_t;
typedef unsigned int UBaseType_t;
typedef uint32_t TickType_t;
#define pdFALSE ((BaseType_t)0)
#define pdTRUE ((BaseType_t)1)
#define pdPASS pdTRUE
#define configTICK_RATE_HZ 100
#define portMAX_DELAY ((TickType_t)0xffffffffUL)
#define pdMS_TO_TICKS(milliseconds) ((TickType_t)(((TickType_t)(milliseconds)*configTICK_RATE_HZ) / 1000U))
void vPortYieldFromISR(void);
#define portYIELD_FROM_ISR(hasWoken) \
  if ((hasWoken) == pdTRUE) vPortYieldFromISR()
void* pvPortMalloc(size_t size);
void vPortFree(void* pointer);
}
