#pragma once
// https://github.com/espressif/esp-idf/blob/release/v5.3/components/tcp_transport/include/esp_transport_tcp.h
#include "esp_transport.h"
extern "C" {
esp_transport_handle_t esp_transport_tcp_init(void);
}
