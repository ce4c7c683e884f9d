#pragma once
// The network of a board: MQTT 5, or 3.1.1 where Kconfig says so, by esp-mqtt.

#include <esp_transport.h>
#include <freertos/FreeRTOS.h>
#include <freertos/queue.h>
#include <freertos/task.h>
#include <mqtt_client.h>

#include "../../core/device.hpp"

namespace muster {

/** How a broker is reached. All texts end with a zero and outlive the transport; nullptr stands for none. */
struct BrokerAccount {
  /** `mqtt://host:port` or `mqtts://host:port`. */
  const char* uri = nullptr;
  const char* password = nullptr;
  /** PEM. Without it a `mqtts` broker has to be known to the public authorities that ESP-IDF brings. */
  const char* certificateAuthority = nullptr;
  /** PEM, both or none: what the device shows the broker. */
  const char* certificate = nullptr;
  const char* key = nullptr;
};

/** Whether a text is an address that the transport can use; a password in it would end up in logs. */
bool isBrokerUri(Text uri);

/**
 * One connection at a time, each with an esp-mqtt client of its own that never reconnects. Nothing of an old one is
 * sent again: its outbox dies with it, and within a connection nothing is repeated either. What esp-mqtt tells, it
 * tells in its own task; it waits in a queue until `dispatch` hands it to the device. Clients are destroyed by a task
 * of their own, because that waits for the network.
 */
class EspTransport final : public Transport {
 public:
  explicit EspTransport(const BrokerAccount& account) : account_(account) {}
  EspTransport(const EspTransport&) = delete;
  EspTransport& operator=(const EspTransport&) = delete;

  /** `owner` is woken with `kWakeNetwork` when there is something to dispatch. False without memory. */
  bool begin(TaskHandle_t owner);

  void connect(const ConnectOptions& options) override;
  Token publish(Text topic, Text payload, const PublishOptions& options) override;
  void subscribe(Text filter, uint8_t qos) override;
  void disconnect(DisconnectCode code) override { close(code); }
  Text address() override;

  /** Tells the device the next thing that has happened; false when there is none. */
  bool dispatch(Device& device);
  /** Waits until everything handed over, DISCONNECT included, is out and all connections are closed. */
  void waitUntilClosed(uint32_t limitMs);

 private:
  /** From `connect` until its client is destroyed. What is volatile is shared with the task of the client. */
  struct Connection {
    EspTransport* owner = nullptr;
    esp_mqtt_client_handle_t client = nullptr;
    /** TCP or TLS below esp-mqtt. */
    esp_transport_handle_t line = nullptr;
    uint32_t number = 0;
    LostReason reason = LostReason::network;
    DisconnectCode code = DisconnectCode::normal;
    volatile bool isUsed = false;
    /** The line stood, so a CONNECT may have been sent. */
    volatile bool isReached = false;
    /** Nothing more is written to the line. */
    volatile bool isSilenced = false;
    /** Something did not fit into the queue: what the device knows of this connection is no longer true. */
    volatile bool isOverrun = false;
    bool isLost = false;
  };

  enum class EventKind : uint8_t { connected, lost, acknowledged, message };
  struct Event {
    EventKind kind = EventKind::connected;
    /** A `LostReason`, or the reason code of PUBACK and PUBCOMP. */
    uint8_t code = 0;
    bool isRetained = false;
    uint16_t topicSize = 0;
    uint16_t payloadSize = 0;
    uint32_t number = 0;
    Token token = kNoToken;
    /** Topic and payload, one after the other; freed by whoever takes the event. */
    char* bytes = nullptr;
  };

  Connection* open(const ConnectOptions& options);
  bool start(Connection& connection, const ConnectOptions& options);
  esp_transport_handle_t makeLine() const;
  void close(DisconnectCode code);
  void tell(Device& device, const Event& event);

  static void onEvent(void* connection, esp_event_base_t base, int32_t id, void* data);
  static void post(Connection& connection, Event event);
  static void postMessage(Connection& connection, const esp_mqtt_event_t& event);
  static void postLost(Connection& connection, const esp_mqtt_event_t& event);
  static void closeAll(void* self);
  static esp_transport_handle_t wrap(Connection& connection, int defaultPort);

  /** The one in use, those that are being destroyed, and one to spare. */
  static constexpr size_t kConnections = 4;

  const BrokerAccount account_;
  char address_[16] = "";
  TaskHandle_t owner_ = nullptr;
  QueueHandle_t events_ = nullptr;
  QueueHandle_t closing_ = nullptr;
  Connection connections_[kConnections];
  Connection* current_ = nullptr;
  /** Of the current connection; events that carry another are about nothing. */
  uint32_t number_ = 0;
};

}  // namespace muster
