#pragma once
// https://www.freertos.org/Documentation/02-Kernel/04-API-references/05-Direct-to-task-notifications/00-RTOS-task-notification-API;
// the notifications are macros there.
#include "FreeRTOS.h"
extern "C" {
typedef struct tskTaskControlBlock* TaskHandle_t;
typedef void (*TaskFunction_t)(void* parameters);
typedef enum { eNoAction, eSetBits, eIncrement, eSetValueWithOverwrite, eSetValueWithoutOverwrite } eNotifyAction;
BaseType_t xTaskCreate(TaskFunction_t code, const char* name, const uint32_t stack_depth, void* parameters,
                       UBaseType_t priority, TaskHandle_t* created_task);
TaskHandle_t xTaskGetCurrentTaskHandle(void);
void vTaskDelay(const TickType_t ticks);
BaseType_t xTaskNotify(TaskHandle_t task, uint32_t value, eNotifyAction action);
BaseType_t xTaskNotifyFromISR(TaskHandle_t task, uint32_t value, eNotifyAction action, BaseType_t* has_woken);
BaseType_t xTaskNotifyWait(uint32_t clear_on_entry, uint32_t clear_on_exit, uint32_t* value, TickType_t ticks);
}
