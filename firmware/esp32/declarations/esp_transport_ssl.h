#pragma once
// https://github.com/espressif/esp-idf/blob/release/v5.3/components/tcp_transport/include/esp_transport_ssl.h
#include "esp_transport.h"
extern "C" {
esp_transport_handle_t esp_transport_ssl_init(void);
void esp_transport_ssl_crt_bundle_attach(esp_transport_handle_t t, esp_err_t((*crt_bundle_attach)(void* conf)));
void esp_transport_ssl_set_cert_data(esp_transport_handle_t t, const char* data, int len);
void esp_transport_ssl_set_client_cert_data(esp_transport_handle_t t, const char* data, int len);
void esp_transport_ssl_set_client_key_data(esp_transport_handle_t t, const char* data, int len);
}
