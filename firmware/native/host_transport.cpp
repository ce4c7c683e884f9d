#include "host_transport.hpp"

#include <arpa/inet.h>
#include <mqtt_protocol.h>
#include <netinet/in.h>
#include <sys/socket.h>

#include <chrono>
#include <iostream>
#include <stdexcept>

namespace muster {

namespace {

std::string str(Text text) { return {text.data, text.size}; }
Text text(const std::string& string) { return {string.data(), string.size()}; }

/** DISCONNECT and everything before it goes out within this. */
constexpr std::chrono::milliseconds kFlushLimit(200);

/** CONNACK codes that trying again soon does not change (MQTT 5, section 3.2.2.2). */
bool isRefusal(int code) {
  return code == MQTT_RC_NOT_AUTHORIZED || code == MQTT_RC_BAD_USERNAME_OR_PASSWORD || code == MQTT_RC_BANNED ||
         code == MQTT_RC_CLIENTID_NOT_VALID || code == MQTT_RC_BAD_AUTHENTICATION_METHOD;
}

/** Properties of one packet; the library copies them. */
class Properties {
 public:
  ~Properties() { mosquitto_property_free_all(&list_); }
  void add(int identifier, uint32_t value) { mosquitto_property_add_int32(&list_, identifier, value); }
  const mosquitto_property* list() const { return list_; }

 private:
  mosquitto_property* list_ = nullptr;
};

}  // namespace

HostTransport::HostTransport(BrokerAddress address) : address_(std::move(address)) { mosquitto_lib_init(); }

HostTransport::~HostTransport() {
  close();
  mosquitto_lib_cleanup();
}

void HostTransport::connect(const ConnectOptions& options) {
  close();
  events_.clear();
  open(options);
}

void HostTransport::open(const ConnectOptions& options) {
  client_ = mosquitto_new(str(options.clientId).c_str(), options.sessionExpirySeconds == 0, this);
  if (client_ == nullptr) return lose(LostReason::unreached);
  mosquitto_int_option(client_, MOSQ_OPT_PROTOCOL_VERSION, MQTT_PROTOCOL_V5);
  mosquitto_int_option(client_, MOSQ_OPT_TCP_NODELAY, 1);
  if (!address_.username.empty()) {
    mosquitto_username_pw_set(client_, address_.username.c_str(), address_.password.c_str());
  }
  const std::string& ca = address_.certificateAuthority;
  if (!ca.empty() && mosquitto_tls_set(client_, ca.c_str(), nullptr, nullptr, nullptr, nullptr) != MOSQ_ERR_SUCCESS) {
    std::cerr << "muster-node: " << ca << " is no file of certificates\n";
    return lose(LostReason::unreached);
  }
  mosquitto_will_set_v5(client_, str(options.willTopic).c_str(), static_cast<int>(options.willPayload.size),
                        options.willPayload.data, 1, true, nullptr);

  mosquitto_connect_v5_callback_set(client_, [](mosquitto*, void* self, int code, int, const mosquitto_property*) {
    auto& transport = *static_cast<HostTransport*>(self);
    if (code != 0) {
      std::cerr << "muster-node: the broker answers " << mosquitto_reason_string(code) << "\n";
      return transport.lose(isRefusal(code) ? LostReason::refused : LostReason::network);
    }
    transport.isConnected_ = true;
    transport.events_.push_back([](Device& device) { device.onConnected(); });
  });
  mosquitto_disconnect_v5_callback_set(client_, [](mosquitto*, void* self, int code, const mosquitto_property*) {
    const bool isTaken = code == MQTT_RC_SESSION_TAKEN_OVER;
    static_cast<HostTransport*>(self)->lose(isTaken ? LostReason::takenOver : LostReason::network);
  });
  mosquitto_publish_v5_callback_set(client_, [](mosquitto*, void* self, int id, int code, const mosquitto_property*) {
    const auto token = static_cast<Token>(id);
    const auto reason = static_cast<uint8_t>(code);
    auto& events = static_cast<HostTransport*>(self)->events_;
    events.push_back([token, reason](Device& device) { device.onAcknowledged(token, reason); });
  });
  mosquitto_message_v5_callback_set(
      client_, [](mosquitto*, void* self, const mosquitto_message* message, const mosquitto_property*) {
        const std::string topic = message->topic;
        const std::string payload(static_cast<const char*>(message->payload), static_cast<size_t>(message->payloadlen));
        const bool isRetained = message->retain;
        static_cast<HostTransport*>(self)->events_.push_back(
            [topic, payload, isRetained](Device& device) { device.onMessage(text(topic), text(payload), isRetained); });
      });

  Properties properties;
  if (options.sessionExpirySeconds > 0) {
    properties.add(MQTT_PROP_SESSION_EXPIRY_INTERVAL, options.sessionExpirySeconds);
  }
  const int result = mosquitto_connect_bind_v5(client_, address_.host.c_str(), address_.port, options.keepAliveSeconds,
                                               nullptr, properties.list());
  if (result != MOSQ_ERR_SUCCESS) lose(LostReason::unreached);
}

/** Told once for each connection: what the library says of it afterwards is about nothing. */
void HostTransport::lose(LostReason reason) {
  isConnected_ = false;
  events_.push_back([this, reason](Device& device) {
    close();
    device.onDisconnected(reason);
  });
}

void HostTransport::close() {
  isConnected_ = false;
  if (client_ != nullptr) mosquitto_destroy(client_);
  client_ = nullptr;
}

Token HostTransport::publish(Text topic, Text payload, const PublishOptions& options) {
  if (!isConnected_) return kNoToken;
  Properties properties;
  if (options.expirySeconds > 0) properties.add(MQTT_PROP_MESSAGE_EXPIRY_INTERVAL, options.expirySeconds);
  int id = 0;
  const int result = mosquitto_publish_v5(client_, &id, str(topic).c_str(), static_cast<int>(payload.size),
                                          payload.data, options.qos, options.isRetained, properties.list());
  return result == MOSQ_ERR_SUCCESS ? static_cast<Token>(id) : kNoToken;
}

void HostTransport::subscribe(Text filter, uint8_t qos) {
  if (isConnected_) mosquitto_subscribe_v5(client_, nullptr, str(filter).c_str(), qos, 0, nullptr);
}

void HostTransport::disconnect(DisconnectCode code) {
  if (client_ != nullptr && isConnected_) {
    mosquitto_disconnect_v5(client_, static_cast<int>(code), nullptr);
    // The library ends the connection itself when DISCONNECT is out.
    const auto deadline = std::chrono::steady_clock::now() + kFlushLimit;
    while (mosquitto_loop(client_, 10, 1) == MOSQ_ERR_SUCCESS && std::chrono::steady_clock::now() < deadline) {
    }
  }
  close();
  events_.clear();
}

Text HostTransport::address() {
  ownAddress_.clear();
  sockaddr_storage own{};
  socklen_t size = sizeof own;
  if (client_ == nullptr || getsockname(mosquitto_socket(client_), reinterpret_cast<sockaddr*>(&own), &size) != 0) {
    return {};
  }
  const void* number = own.ss_family == AF_INET6
                           ? static_cast<const void*>(&reinterpret_cast<const sockaddr_in6&>(own).sin6_addr)
                           : &reinterpret_cast<const sockaddr_in&>(own).sin_addr;
  char written[INET6_ADDRSTRLEN] = "";
  if (inet_ntop(own.ss_family, number, written, sizeof written) != nullptr) ownAddress_ = written;
  return text(ownAddress_);
}

bool HostTransport::dispatch(Device& device, int limitMs) {
  if (client_ != nullptr && events_.empty()) {
    const int result = mosquitto_loop(client_, limitMs, 1);
    if (result != MOSQ_ERR_SUCCESS && events_.empty()) lose(LostReason::network);
  }
  if (events_.empty()) return false;
  const Event event = std::move(events_.front());
  events_.pop_front();
  event(device);
  return true;
}

}  // namespace muster
