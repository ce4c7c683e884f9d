#pragma once
// https://github.com/espressif/esp-idf/blob/release/v5.3/components/tcp_transport/include/esp_transport.h
#include "esp_err.h"
extern "C" {
typedef struct esp_transport_item_t* esp_transport_handle_t;
typedef struct esp_transport_keepalive {
  bool keep_alive_enable;
  int keep_alive_idle;
  int keep_alive_interval;
  int keep_alive_count;
} esp_transport_keep_alive_t;
typedef int (*connect_func)(esp_transport_handle_t t, const char* host, int port, int timeout_ms);
typedef int (*io_func)(esp_transport_handle_t t, const char* buffer, int len, int timeout_ms);
typedef int (*io_read_func)(esp_transport_handle_t t, char* buffer, int len, int timeout_ms);
typedef int (*trans_func)(esp_transport_handle_t t);
typedef int (*poll_func)(esp_transport_handle_t t, int timeout_ms);
esp_transport_handle_t esp_transport_init(void);
esp_err_t esp_transport_destroy(esp_transport_handle_t t);
esp_err_t esp_transport_set_default_port(esp_transport_handle_t t, int port);
int esp_transport_connect(esp_transport_handle_t t, const char* host, int port, int timeout_ms);
int esp_transport_read(esp_transport_handle_t t, char* buffer, int len, int timeout_ms);
int esp_transport_write(esp_transport_handle_t t, const char* buffer, int len, int timeout_ms);
int esp_transport_poll_read(esp_transport_handle_t t, int timeout_ms);
int esp_transport_poll_write(esp_transport_handle_t t, int timeout_ms);
int esp_transport_close(esp_transport_handle_t t);
void* esp_transport_get_context_data(esp_transport_handle_t t);
esp_err_t esp_transport_set_context_data(esp_transport_handle_t t, void* data);
esp_err_t esp_transport_set_func(esp_transport_handle_t t, connect_func _connect, io_read_func _read, io_func _write,
                                 trans_func _close, poll_func _poll_read, poll_func _poll_write, trans_func _destroy);
}
