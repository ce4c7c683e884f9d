#pragma once
// The connection to the broker, as the core sees it: esp-mqtt on a board, libmosquitto on a host, mqtt.js behind
// WebAssembly.

#include "text.hpp"

namespace muster {

/** Stands for one publication until it is acknowledged; never 0. */
using Token = uint32_t;
/** What `publish` answers when it could not take the message: it is tried again. */
constexpr Token kNoToken = 0;

/** How the broker is to handle a message. */
struct PublishOptions {
  /** 0, 1 or 2 (MQTT 5, section 4.3). */
  uint8_t qos = 1;
  bool isRetained = false;
  /** Message Expiry Interval in seconds (MQTT 5, section 3.3.2.3.3); 0 is never. Not sent under MQTT 3.1.1. */
  uint32_t expirySeconds = 0;
};

/** What a connection is made with. The client id is also the user name; the password is the transport's own. */
struct ConnectOptions {
  Text clientId;
  /** Retained, QoS 1 (MQTT 5, section 3.1.2.5). */
  Text willTopic;
  Text willPayload;
  uint16_t keepAliveSeconds = 60;
  /** 0 starts clean and leaves nothing behind; else Session Expiry Interval (MQTT 5, section 3.1.2.11.2). */
  uint32_t sessionExpirySeconds = 0;
};

/** Reason codes of DISCONNECT (MQTT 5, section 3.14.2.1). */
enum class DisconnectCode : uint8_t {
  /** The broker forgets the will. */
  normal = 0x00,
  /** The broker publishes the will; under MQTT 3.1.1 the connection is closed without a DISCONNECT. */
  withWill = 0x04,
};

/** Why a connection ended, or could not be made. */
enum class LostReason : uint8_t {
  /** The network, a time limit, or a broker that went away. */
  network = 0,
  /** The broker does not know the device, its password or its certificate: trying soon will not help. */
  refused = 1,
  /** Another client has come with the same id (MQTT 5, reason code 0x8E). */
  takenOver = 2,
  /** No CONNECT was sent, so no broker has a will of this session: its number can be used again. */
  unreached = 3,
};

/**
 * One connection at a time. Nothing blocks: results come as `Device::onConnected`, `onDisconnected`, `onAcknowledged`
 * and `onMessage`, never from within a call. A transport keeps no queue over a connection's end: what has not been
 * acknowledged by then is the core's to send again. After `disconnect` it says nothing more of that connection. Texts
 * are the transport's only while it is called.
 */
class Transport {
 public:
  virtual void connect(const ConnectOptions& options) = 0;
  /** A token for `onAcknowledged` (PUBACK or PUBCOMP; at QoS 0 none comes), or `kNoToken` when it cannot be taken. */
  virtual Token publish(Text topic, Text payload, const PublishOptions& options) = 0;
  virtual void subscribe(Text filter, uint8_t qos) = 0;
  /** What has been handed over before goes out first. */
  virtual void disconnect(DisconnectCode code) = 0;
  /** The device's own address in the network of the connection, for `info`; empty where nobody knows it. */
  virtual Text address() { return {}; }

 protected:
  ~Transport() = default;
};

}  // namespace muster
