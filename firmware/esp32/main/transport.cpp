#include "transport.hpp"

#include <esp_crt_bundle.h>
#include <esp_log.h>
#include <esp_transport_ssl.h>
#include <esp_transport_tcp.h>

#include "network.hpp"
#include "wake.hpp"

namespace muster {

namespace {

constexpr char kTag[] = "mqtt";
/** TLS on an ESP32 takes seconds. A write that lasts longer ends the connection; the watchdog waits for more. */
constexpr int kNetworkLimitMs = 8000;
/** MQTT 5 forbids to repeat within a connection (section 4.4), and the core repeats after it. */
constexpr int kNoRetransmitMs = 24 * 3600 * 1000;
/** The longest configuration or command that the core reads, with topic and properties. */
constexpr int kReceiveBytes = static_cast<int>(kMaxJsonBytes) + 512;
constexpr int kSendBytes = 1024;
constexpr size_t kQueuedEvents = 24;
/** QoS 0 has no packet identifier; a packet identifier has 16 bits. */
constexpr Token kUnacknowledged = 0x10000;

/** esp-mqtt wants texts that end with a zero; empty where it would be too long. */
template <size_t Capacity>
class Terminated {
 public:
  explicit Terminated(Text text) {
    const size_t size = text.size <= Capacity ? text.size : 0;
    __builtin_memcpy(characters_, text.data, size);
    characters_[size] = '\0';
  }
  const char* get() const { return characters_; }

 private:
  char characters_[Capacity + 1];
};

bool isEncrypted(const char* uri) { return Text(uri, __builtin_strlen(uri)).startsWith("mqtts://"); }

/** Answers to CONNECT that trying again soon does not change (MQTT 5, section 3.2.2.2; MQTT 3.1.1, section 3.2.2.3). */
bool isRefusal(int code) {
#if CONFIG_MUSTER_MQTT_5
  return code == MQTT5_INVALID_CLIENT_ID || code == MQTT5_BAD_USERNAME_OR_PWD || code == MQTT5_NOT_AUTHORIZED ||
         code == MQTT5_BANNED || code == MQTT5_BAD_AUTH_METHOD;
#else
  return code == MQTT_CONNECTION_REFUSE_ID_REJECTED || code == MQTT_CONNECTION_REFUSE_BAD_USERNAME ||
         code == MQTT_CONNECTION_REFUSE_NOT_AUTHORIZED;
#endif
}

}  // namespace

bool isBrokerUri(Text uri) {
  const size_t schemeSize = uri.startsWith("mqtts://") ? 8 : uri.startsWith("mqtt://") ? 7 : 0;
  if (schemeSize == 0 || uri.size == schemeSize) return false;
  for (size_t at = schemeSize; at < uri.size; ++at) {
    const char character = uri.data[at];
    if (character <= ' ' || character > '~' || character == '@' || character == '/') return false;
  }
  return true;
}

bool EspTransport::begin(TaskHandle_t owner) {
  owner_ = owner;
  events_ = xQueueCreate(kQueuedEvents, sizeof(Event));
  closing_ = xQueueCreate(kConnections, sizeof(Connection*));
  if (events_ == nullptr || closing_ == nullptr) return false;
  return xTaskCreate(closeAll, "mqtt_close", 4096, this, 5, nullptr) == pdPASS;
}

void EspTransport::connect(const ConnectOptions& options) {
  close(DisconnectCode::withWill);
  ++number_;
  current_ = open(options);
  if (current_ != nullptr) return;
  ESP_LOGE(kTag, "no memory for a connection");
  Event event;
  event.kind = EventKind::lost;
  event.code = static_cast<uint8_t>(LostReason::unreached);
  event.number = number_;
  // Where even this does not fit, the core gives up by itself after its own limit.
  xQueueSend(events_, &event, 0);
  xTaskNotify(owner_, kWakeNetwork, eSetBits);
}

Text EspTransport::address() {
  writeAddress(address_);
  return {address_, __builtin_strlen(address_)};
}

EspTransport::Connection* EspTransport::open(const ConnectOptions& options) {
  for (Connection& connection : connections_) {
    if (connection.isUsed) continue;
    connection = Connection();
    connection.owner = this;
    connection.number = number_;
    if (!start(connection, options)) return nullptr;
    return &connection;
  }
  return nullptr;
}

bool EspTransport::start(Connection& connection, const ConnectOptions& options) {
  const Terminated<64> id(options.clientId);
  const Terminated<kMaxTopicBytes> willTopic(options.willTopic);
  connection.line = makeLine();
  if (connection.line == nullptr) return false;
  const esp_transport_handle_t wrapped = wrap(connection, isEncrypted(account_.uri) ? 8883 : 1883);
  if (wrapped == nullptr) {
    esp_transport_destroy(connection.line);
    return false;
  }

  esp_mqtt_client_config_t config = {};
  config.broker.address.uri = account_.uri;
  config.credentials.client_id = id.get();
  config.credentials.username = id.get();
  config.credentials.authentication.password = account_.password;
  config.session.last_will.topic = willTopic.get();
  config.session.last_will.msg = options.willPayload.data;
  config.session.last_will.msg_len = static_cast<int>(options.willPayload.size);
  config.session.last_will.qos = 1;
  config.session.last_will.retain = 1;
  config.session.disable_clean_session = options.sessionExpirySeconds > 0;
  config.session.keepalive = options.keepAliveSeconds;
  config.session.message_retransmit_timeout = kNoRetransmitMs;
  config.network.disable_auto_reconnect = true;
  config.network.timeout_ms = kNetworkLimitMs;
  config.network.transport = wrapped;
  config.buffer.size = kReceiveBytes;
  config.buffer.out_size = kSendBytes;
#if CONFIG_MUSTER_MQTT_5
  config.session.protocol_ver = MQTT_PROTOCOL_V_5;
#else
  config.session.protocol_ver = MQTT_PROTOCOL_V_3_1_1;
#endif
  connection.client = esp_mqtt_client_init(&config);
  // esp-mqtt has destroyed the line by then, as it does with every client.
  if (connection.client == nullptr) return false;
  esp_err_t result = esp_mqtt_client_register_event(connection.client, MQTT_EVENT_ANY, onEvent, &connection);
#if CONFIG_MUSTER_MQTT_5
  esp_mqtt5_connection_property_config_t properties = {};
  properties.session_expiry_interval = options.sessionExpirySeconds;
  if (result == ESP_OK) result = esp_mqtt5_client_set_connect_property(connection.client, &properties);
#endif
  connection.isUsed = true;
  if (result == ESP_OK) result = esp_mqtt_client_start(connection.client);
  if (result == ESP_OK) return true;
  // It is not running, so this does not wait.
  esp_mqtt_client_destroy(connection.client);
  connection.isUsed = false;
  return false;
}

esp_transport_handle_t EspTransport::makeLine() const {
  if (!isEncrypted(account_.uri)) return esp_transport_tcp_init();
  const esp_transport_handle_t line = esp_transport_ssl_init();
  if (line == nullptr) return nullptr;
  const auto size = [](const char* pem) { return static_cast<int>(__builtin_strlen(pem)); };
  if (account_.certificateAuthority != nullptr) {
    esp_transport_ssl_set_cert_data(line, account_.certificateAuthority, size(account_.certificateAuthority));
  } else {
    esp_transport_ssl_crt_bundle_attach(line, esp_crt_bundle_attach);
  }
  if (account_.certificate != nullptr && account_.key != nullptr) {
    esp_transport_ssl_set_client_cert_data(line, account_.certificate, size(account_.certificate));
    esp_transport_ssl_set_client_key_data(line, account_.key, size(account_.key));
  }
  return line;
}

/**
 * The line as esp-mqtt sees it. It tells whether a CONNECT can have been sent, and it can be silenced: esp-mqtt sends
 * DISCONNECT before it closes, and under MQTT 3.1.1 that takes the will back.
 */
esp_transport_handle_t EspTransport::wrap(Connection& connection, int defaultPort) {
  const esp_transport_handle_t wrapped = esp_transport_init();
  if (wrapped == nullptr) return nullptr;
  const auto connect = [](esp_transport_handle_t t, const char* host, int port, int limitMs) {
    auto& of = *static_cast<Connection*>(esp_transport_get_context_data(t));
    const int result = esp_transport_connect(of.line, host, port, limitMs);
    of.isReached = result >= 0;
    return result;
  };
  const auto read = [](esp_transport_handle_t t, char* buffer, int size, int limitMs) {
    auto& of = *static_cast<Connection*>(esp_transport_get_context_data(t));
    return esp_transport_read(of.line, buffer, size, limitMs);
  };
  const auto write = [](esp_transport_handle_t t, const char* buffer, int size, int limitMs) {
    auto& of = *static_cast<Connection*>(esp_transport_get_context_data(t));
    return of.isSilenced ? -1 : esp_transport_write(of.line, buffer, size, limitMs);
  };
  const auto close = [](esp_transport_handle_t t) {
    return esp_transport_close(static_cast<Connection*>(esp_transport_get_context_data(t))->line);
  };
  const auto pollRead = [](esp_transport_handle_t t, int limitMs) {
    return esp_transport_poll_read(static_cast<Connection*>(esp_transport_get_context_data(t))->line, limitMs);
  };
  const auto pollWrite = [](esp_transport_handle_t t, int limitMs) {
    return esp_transport_poll_write(static_cast<Connection*>(esp_transport_get_context_data(t))->line, limitMs);
  };
  const auto destroy = [](esp_transport_handle_t t) -> int {
    return esp_transport_destroy(static_cast<Connection*>(esp_transport_get_context_data(t))->line);
  };
  esp_transport_set_context_data(wrapped, &connection);
  esp_transport_set_func(wrapped, connect, read, write, close, pollRead, pollWrite, destroy);
  esp_transport_set_default_port(wrapped, defaultPort);
  return wrapped;
}

Token EspTransport::publish(Text topic, Text payload, const PublishOptions& options) {
  if (current_ == nullptr) return kNoToken;
  const Terminated<kMaxTopicBytes> name(topic);
#if CONFIG_MUSTER_MQTT_5
  esp_mqtt5_publish_property_config_t properties = {};
  properties.message_expiry_interval = options.expirySeconds;
  if (options.expirySeconds > 0) esp_mqtt5_client_set_publish_property(current_->client, &properties);
#endif
  // A length of 0 with data makes esp-mqtt measure the data itself, to a zero that is not there.
  const char* data = payload.isEmpty() ? nullptr : payload.data;
  const int identifier = esp_mqtt_client_publish(current_->client, name.get(), data, static_cast<int>(payload.size),
                                                 options.qos, options.isRetained ? 1 : 0);
  if (identifier < 0) return kNoToken;
  return identifier == 0 ? kUnacknowledged : static_cast<Token>(identifier);
}

void EspTransport::subscribe(Text filter, uint8_t qos) {
  if (current_ == nullptr) return;
  const Terminated<kMaxTopicBytes> name(filter);
  if (esp_mqtt_client_subscribe_single(current_->client, name.get(), qos) < 0) {
    // Without it the device would be deaf; a new connection tries again.
    current_->isOverrun = true;
    xTaskNotify(owner_, kWakeNetwork, eSetBits);
  }
}

void EspTransport::close(DisconnectCode code) {
  if (current_ == nullptr) return;
  Connection* const connection = current_;
  current_ = nullptr;
  ++number_;
  connection->code = code;
  // There is room: it has a place for each connection, and each comes here once.
  xQueueSend(closing_, &connection, portMAX_DELAY);
}

void EspTransport::closeAll(void* self) {
  const QueueHandle_t closing = static_cast<EspTransport*>(self)->closing_;
  for (;;) {
    Connection* connection = nullptr;
    if (xQueueReceive(closing, &connection, portMAX_DELAY) != pdTRUE) continue;
    if (connection->code == DisconnectCode::withWill) {
#if CONFIG_MUSTER_MQTT_5
      esp_mqtt5_disconnect_property_config_t properties = {};
      properties.disconnect_reason = static_cast<uint8_t>(DisconnectCode::withWill);
      esp_mqtt5_client_set_disconnect_property(connection->client, &properties);
#else
      connection->isSilenced = true;
#endif
    }
    esp_mqtt_client_destroy(connection->client);
    connection->isUsed = false;
  }
}

void EspTransport::waitUntilClosed(uint32_t limitMs) {
  constexpr uint32_t kStepMs = 20;
  for (uint32_t waitedMs = 0; waitedMs < limitMs; waitedMs += kStepMs) {
    bool isAnyUsed = false;
    for (const Connection& connection : connections_) isAnyUsed = isAnyUsed || connection.isUsed;
    if (!isAnyUsed) return;
    vTaskDelay(pdMS_TO_TICKS(kStepMs));
  }
}

bool EspTransport::dispatch(Device& device) {
  if (current_ != nullptr && current_->isOverrun) {
    ESP_LOGW(kTag, "more came than could be taken: connecting anew");
    close(DisconnectCode::withWill);
    device.onDisconnected(LostReason::network);
    return true;
  }
  Event event;
  if (xQueueReceive(events_, &event, 0) != pdTRUE) return false;
  if (event.number == number_) tell(device, event);
  vPortFree(event.bytes);
  return true;
}

void EspTransport::tell(Device& device, const Event& event) {
  switch (event.kind) {
    case EventKind::connected: device.onConnected(); break;
    case EventKind::lost:
      close(DisconnectCode::withWill);
      device.onDisconnected(static_cast<LostReason>(event.code));
      break;
    case EventKind::acknowledged: device.onAcknowledged(event.token, event.code); break;
    case EventKind::message:
      device.onMessage({event.bytes, event.topicSize}, {event.bytes + event.topicSize, event.payloadSize},
                       event.isRetained);
      break;
  }
}

// From here on in the task of esp-mqtt, which holds its lock: nothing may wait.

void EspTransport::onEvent(void* argument, esp_event_base_t, int32_t id, void* data) {
  auto& connection = *static_cast<Connection*>(argument);
  const auto& event = *static_cast<const esp_mqtt_event_t*>(data);
  Event told;
  switch (static_cast<esp_mqtt_event_id_t>(id)) {
    case MQTT_EVENT_CONNECTED: post(connection, told); break;
    case MQTT_EVENT_PUBLISHED: told.kind = EventKind::acknowledged; told.token = static_cast<Token>(event.msg_id);
#if CONFIG_MUSTER_MQTT_5
      // Under MQTT 5 esp-mqtt hands over the reason code as data, and nothing where the broker left it out: success.
      if (event.data != nullptr && event.data_len > 0) told.code = static_cast<uint8_t>(event.data[0]);
#endif
      post(connection, told);
      break;
    case MQTT_EVENT_DATA: postMessage(connection, event); break;
    case MQTT_EVENT_ERROR:
      if (event.error_handle->error_type == MQTT_ERROR_TYPE_CONNECTION_REFUSED) {
        const int code = event.error_handle->connect_return_code;
        ESP_LOGE(kTag, "the broker refuses the connection: reason code 0x%02x", static_cast<unsigned>(code));
        if (isRefusal(code)) connection.reason = LostReason::refused;
      }
      break;
    case MQTT_EVENT_DISCONNECTED: postLost(connection, event); break;
    default: break;
  }
}

void EspTransport::post(Connection& connection, Event event) {
  event.number = connection.number;
  if (xQueueSend(connection.owner->events_, &event, 0) != pdTRUE) {
    vPortFree(event.bytes);
    connection.isOverrun = true;
  }
  xTaskNotify(connection.owner->owner_, kWakeNetwork, eSetBits);
}

void EspTransport::postMessage(Connection& connection, const esp_mqtt_event_t& event) {
  // A message longer than the buffer comes in parts; its beginning is too long for the core already, which says so.
  if (event.current_data_offset != 0 || event.topic_len <= 0 || event.data_len < 0) return;
  const size_t topicSize = static_cast<size_t>(event.topic_len);
  const size_t limit = kMaxJsonBytes + 1;
  const size_t payloadSize = static_cast<size_t>(event.data_len) < limit ? static_cast<size_t>(event.data_len) : limit;
  // No topic of a device is longer.
  if (topicSize > kMaxTopicBytes) return;
  Event told;
  told.kind = EventKind::message;
  told.isRetained = event.retain;
  told.topicSize = static_cast<uint16_t>(topicSize);
  told.payloadSize = static_cast<uint16_t>(payloadSize);
  told.bytes = static_cast<char*>(pvPortMalloc(topicSize + payloadSize));
  if (told.bytes == nullptr) {
    connection.isOverrun = true;
    xTaskNotify(connection.owner->owner_, kWakeNetwork, eSetBits);
    return;
  }
  __builtin_memcpy(told.bytes, event.topic, topicSize);
  if (payloadSize > 0) __builtin_memcpy(told.bytes + topicSize, event.data, payloadSize);
  post(connection, told);
}

void EspTransport::postLost(Connection& connection, const esp_mqtt_event_t& event) {
  // Told once: after a DISCONNECT of the broker esp-mqtt tells of the closed line as well.
  if (connection.isLost) return;
  connection.isLost = true;
  if (!connection.isReached) connection.reason = LostReason::unreached;
#if CONFIG_MUSTER_MQTT_5
  if (event.error_handle->disconnect_return_code == MQTT5_SESSION_TAKEN_OVER) {
    ESP_LOGW(kTag, "another client has come with this id");
    connection.reason = LostReason::takenOver;
  }
#else
  (void)event;
#endif
  Event told;
  told.kind = EventKind::lost;
  told.code = static_cast<uint8_t>(connection.reason);
  post(connection, told);
}

}  // namespace muster
