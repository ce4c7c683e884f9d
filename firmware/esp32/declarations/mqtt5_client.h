#pragma once
// https://docs.espressif.com/projects/esp-mqtt/en/latest/esp32/ (esp-mqtt of ESP-IDF 5.3)
#include "mqtt_client.h"
extern "C" {
typedef struct esp_mqtt_client* esp_mqtt5_client_handle_t;
typedef struct mqtt5_user_property_list_t* mqtt5_user_property_handle_t;
typedef struct {
  uint32_t session_expiry_interval;
  uint32_t maximum_packet_size;
  uint16_t receive_maximum;
  uint16_t topic_alias_maximum;
  bool request_resp_info;
  bool request_problem_info;
  mqtt5_user_property_handle_t user_property;
  uint32_t will_delay_interval;
  uint32_t message_expiry_interval;
  bool payload_format_indicator;
  const char* content_type;
  const char* response_topic;
  const char* correlation_data;
  uint16_t correlation_data_len;
  mqtt5_user_property_handle_t will_user_property;
} esp_mqtt5_connection_property_config_t;
typedef struct {
  bool payload_format_indicator;
  uint32_t message_expiry_interval;
  uint16_t topic_alias;
  const char* response_topic;
  const char* correlation_data;
  uint16_t correlation_data_len;
  const char* content_type;
  mqtt5_user_property_handle_t user_property;
} esp_mqtt5_publish_property_config_t;
typedef struct {
  uint32_t session_expiry_interval;
  uint8_t disconnect_reason;
  mqtt5_user_property_handle_t user_property;
} esp_mqtt5_disconnect_property_config_t;
esp_err_t esp_mqtt5_client_set_connect_property(esp_mqtt5_client_handle_t client,
                                                const esp_mqtt5_connection_property_config_t* connect_property);
esp_err_t esp_mqtt5_client_set_publish_property(esp_mqtt5_client_handle_t client,
                                                const esp_mqtt5_publish_property_config_t* property);
esp_err_t esp_mqtt5_client_set_disconnect_property(esp_mqtt5_client_handle_t client,
                                                   const esp_mqtt5_disconnect_property_config_t* property);
}
