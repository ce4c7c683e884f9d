#pragma once
// The network of a host: MQTT 5 by libmosquitto.

#include <mosquitto.h>

#include <deque>
#include <functional>
#include <string>

#include "../core/device.hpp"

namespace muster {

/** How a broker is reached. Empty texts are not used. */
struct BrokerAddress {
  std::string host;
  int port = 1883;
  std::string username;
  std::string password;
  /** A file of certificates; with one, the connection is TLS. */
  std::string certificateAuthority;
};

/**
 * One connection at a time, each with a client of its own, so that nothing of an old one is sent again by the library.
 * What the library tells is kept until `dispatch`: the device is never called from within its own call.
 */
class HostTransport final : public Transport {
 public:
  explicit HostTransport(BrokerAddress address);
  ~HostTransport();
  HostTransport(const HostTransport&) = delete;
  HostTransport& operator=(const HostTransport&) = delete;

  void connect(const ConnectOptions& options) override;
  Token publish(Text topic, Text payload, const PublishOptions& options) override;
  void subscribe(Text filter, uint8_t qos) override;
  void disconnect(DisconnectCode code) override;
  Text address() override;

  /** Waits for the network for at most so long, and tells the device what has happened; true when something has. */
  bool dispatch(Device& device, int limitMs);

 private:
  using Event = std::function<void(Device&)>;
  void open(const ConnectOptions& options);
  void lose(LostReason reason);
  void close();

  BrokerAddress address_;
  mosquitto* client_ = nullptr;
  bool isConnected_ = false;
  std::string ownAddress_;
  std::deque<Event> events_;
};

}  // namespace muster
