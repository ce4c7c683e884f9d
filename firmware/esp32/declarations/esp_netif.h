#pragma once
// https://docs.espressif.com/projects/esp-idf/en/v5.3/esp32/api-reference/network/esp_netif.html
#include "esp_event.h"
extern "C" {
typedef struct esp_netif_obj esp_netif_t;
typedef enum { IP_EVENT_STA_GOT_IP } ip_event_t;
typedef struct {
  uint32_t addr;
} esp_ip4_addr_t;
typedef struct {
  esp_ip4_addr_t ip;
  esp_ip4_addr_t netmask;
  esp_ip4_addr_t gw;
} esp_netif_ip_info_t;
typedef struct {
  esp_netif_t* esp_netif;
  esp_netif_ip_info_t ip_info;
  bool ip_changed;
} ip_event_got_ip_t;
char* esp_ip4addr_ntoa(const esp_ip4_addr_t* addr, char* buf, int buflen);
extern esp_event_base_t const IP_EVENT;
esp_err_t esp_netif_init(void);
}
