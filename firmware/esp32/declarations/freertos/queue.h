#pragma once
// https://www.freertos.org/Documentation/02-Kernel/04-API-references/06-Queues/00-QueueManagement; some are macros
// there.
#include "FreeRTOS.h"
extern "C" {
typedef struct QueueDefinition* QueueHandle_t;
QueueHandle_t xQueueCreate(UBaseType_t length, UBaseType_t item_size);
BaseType_t xQueueSend(QueueHandle_t queue, const void* item, TickType_t ticks);
BaseType_t xQueueSendFromISR(QueueHandle_t queue, const void* item, BaseType_t* has_woken);
BaseType_t xQueueReceive(QueueHandle_t queue, void* buffer, TickType_t ticks);
}
