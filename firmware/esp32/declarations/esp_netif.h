#pragma once
// https://docs.espressif.com/projects/esp-idf/en/v5.3/esp32/api-reference/network/esp_netif.html
#include "esp_event.h"
extern "C" {
typedef struct esp_netif_obj esp_netif_t;
typedef enum { IP_EVENT_STA_GOT_IP } ip_event_t;
extern esp_event_base_t const IP_EVENT;
esp_err_t esp_netif_init(void);
}
