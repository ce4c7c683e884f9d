// The core in WebAssembly: the C interface of muster_device.h, and memory that grows.

#include "muster_device.h"

#include "../freestanding.hpp"
#include "../nodes/dht22.hpp"
#include "../nodes/light.hpp"
#include "../nodes/motion.hpp"
#include "../nodes/motion_light.hpp"

extern "C" {
extern unsigned char __heap_base;
}

namespace {

using namespace muster;

uint32_t length(Text text) { return static_cast<uint32_t>(text.size); }

/** Board and transport of one device: each call goes to the host with its handle. */
class Host final : public Board, public Transport {
 public:
  uint32_t handle = 0;

  void connect(const ConnectOptions& options) override {
    host_connect(handle, options.clientId.data, length(options.clientId), options.willTopic.data,
                 length(options.willTopic), options.willPayload.data, length(options.willPayload),
                 options.keepAliveSeconds, options.sessionExpirySeconds);
  }
  Token publish(Text topic, Text payload, const PublishOptions& options) override {
    return host_publish(handle, topic.data, length(topic), payload.data, length(payload), options.qos,
                        options.isRetained, options.expirySeconds);
  }
  void subscribe(Text filter, uint8_t qos) override { host_subscribe(handle, filter.data, length(filter), qos); }
  void disconnect(DisconnectCode code) override { host_disconnect(handle, static_cast<uint32_t>(code)); }

  uint32_t millis() override { return host_millis(handle); }
  uint64_t epochMs() override {
    const double epochMs = host_epoch_ms(handle);
    return epochMs > 0 && epochMs < static_cast<double>(kMaxSession) ? static_cast<uint64_t>(epochMs) : 0;
  }
  uint32_t random() override { return host_random(handle); }
  ResetReason resetReason() override {
    const uint32_t reason = host_reset_reason(handle);
    return reason <= static_cast<uint32_t>(ResetReason::unknown) ? static_cast<ResetReason>(reason)
                                                                 : ResetReason::unknown;
  }
  bool readClimate(uint8_t pin, Climate& climate) override {
    int32_t tenths[2] = {0, 0};
    if (host_read_climate(handle, pin, tenths) == 0) return false;
    climate = {static_cast<int16_t>(tenths[0]), static_cast<int16_t>(tenths[1])};
    return true;
  }
  bool watchPin(uint8_t pin) override { return host_watch_pin(handle, pin) != 0; }
  bool readPin(uint8_t pin) override { return host_read_pin(handle, pin) != 0; }
  void writeDuty(uint8_t pin, uint8_t percent) override { host_write_duty(handle, pin, percent); }
  int32_t batteryMillivolts() override { return host_battery_millivolts(handle); }
  size_t readFlash(Text key, void* value, size_t capacity) override {
    return host_read_flash(handle, key.data, length(key), value, static_cast<uint32_t>(capacity));
  }
  bool writeFlash(Text key, const void* value, size_t size) override {
    return host_write_flash(handle, key.data, length(key), value, static_cast<uint32_t>(size)) != 0;
  }
  void powerDown(uint32_t wakeInSeconds) override { host_power_down(handle, wakeInSeconds); }
  void restart() override { host_restart(handle); }
  void log(Text line) override { host_log(handle, line.data, length(line)); }
};

union AnyNode {
  AnyNode() {}
  Dht22 dht22;
  Motion motion;
  Light light;
  MotionLight motionLight;
};

Node& makeNode(uint32_t kind, AnyNode& place) {
  switch (kind) {
    case 1: return *new (&place) Motion();
    case 2: return *new (&place) Light();
    case 3: return *new (&place) MotionLight();
    default: return *new (&place) Dht22();
  }
}

constexpr uint32_t kNodeKinds = 4;
constexpr uint32_t kPageBytes = 65536;
constexpr uint32_t kScratchBytes = 4096;

/** All that one device takes. */
struct Slot {
  Slot(uint32_t kind, Text id, Text room) : device(host, host, makeNode(kind, node), id, room) {}
  Host host;
  AnyNode node;
  Device device;
};
static_assert(sizeof(Slot) <= 20 * 1024, "a virtual device is small");

struct FreeSlot {
  FreeSlot* next;
};

char scratch[kScratchBytes];
FreeSlot* firstFree = nullptr;
/** Where no slot has ever been; 0 before the first. */
uintptr_t unused = 0;

/** A free place, or a new one at the end of memory, which grows by whole pages; null when it cannot. */
void* takePlace() {
  if (firstFree != nullptr) {
    FreeSlot* place = firstFree;
    firstFree = place->next;
    return place;
  }
  constexpr uintptr_t kAlign = alignof(Slot);
  if (unused == 0) unused = (reinterpret_cast<uintptr_t>(&__heap_base) + kAlign - 1) / kAlign * kAlign;
  const uintptr_t end = unused + sizeof(Slot);
  const uintptr_t memory = __builtin_wasm_memory_size(0) * kPageBytes;
  if (end > memory) {
    const uintptr_t pages = (end - memory + kPageBytes - 1) / kPageBytes;
    if (__builtin_wasm_memory_grow(0, pages) == static_cast<size_t>(-1)) return nullptr;
  }
  void* place = reinterpret_cast<void*>(unused);
  unused = end;
  return place;
}

Device& deviceOf(uint32_t handle) { return reinterpret_cast<Slot*>(handle)->device; }

bool fits(uint32_t first, uint32_t second) { return first <= kScratchBytes && second <= kScratchBytes - first; }

}  // namespace

extern "C" {
MUSTER_EXPORT(muster_scratch) char* muster_scratch() { return scratch; }
MUSTER_EXPORT(muster_scratch_size) uint32_t muster_scratch_size() { return kScratchBytes; }
MUSTER_EXPORT(muster_device_bytes) uint32_t muster_device_bytes() { return sizeof(Slot); }

MUSTER_EXPORT(muster_create) uint32_t muster_create(uint32_t node, uint32_t id_length, uint32_t room_length) {
  if (node >= kNodeKinds || !fits(id_length, room_length)) return 0;
  void* place = takePlace();
  if (place == nullptr) return 0;
  auto* slot = new (place) Slot(node, {scratch, id_length}, {scratch + id_length, room_length});
  slot->host.handle = static_cast<uint32_t>(reinterpret_cast<uintptr_t>(slot));
  return slot->host.handle;
}

MUSTER_EXPORT(muster_destroy) void muster_destroy(uint32_t handle) {
  auto* place = reinterpret_cast<FreeSlot*>(handle);
  place->next = firstFree;
  firstFree = place;
}

MUSTER_EXPORT(muster_configure) uint32_t muster_configure(uint32_t handle, uint32_t length) {
  if (!fits(length, 0)) return static_cast<uint32_t>(Fault::badSettings);
  return static_cast<uint32_t>(deviceOf(handle).configure({scratch, length}));
}

MUSTER_EXPORT(muster_begin) uint32_t muster_begin(uint32_t handle) {
  return static_cast<uint32_t>(deviceOf(handle).begin());
}

MUSTER_EXPORT(muster_tick) uint32_t muster_tick(uint32_t handle) { return deviceOf(handle).tick(); }
MUSTER_EXPORT(muster_on_connected) void muster_on_connected(uint32_t handle) { deviceOf(handle).onConnected(); }

MUSTER_EXPORT(muster_on_disconnected) void muster_on_disconnected(uint32_t handle, uint32_t reason) {
  const bool isKnown = reason <= static_cast<uint32_t>(LostReason::unreached);
  deviceOf(handle).onDisconnected(isKnown ? static_cast<LostReason>(reason) : LostReason::network);
}

MUSTER_EXPORT(muster_on_acknowledged)
void muster_on_acknowledged(uint32_t handle, uint32_t token, uint32_t reason_code) {
  deviceOf(handle).onAcknowledged(token, static_cast<uint8_t>(reason_code));
}

MUSTER_EXPORT(muster_on_message)
void muster_on_message(uint32_t handle, uint32_t topic_length, uint32_t payload_length, uint32_t is_retained) {
  if (!fits(topic_length, payload_length)) return;
  deviceOf(handle).onMessage({scratch, topic_length}, {scratch + topic_length, payload_length}, is_retained != 0);
}

MUSTER_EXPORT(muster_shutdown) void muster_shutdown(uint32_t handle, uint32_t reason, uint32_t wake_in_seconds) {
  const bool isKnown = reason <= static_cast<uint32_t>(Goodbye::update);
  deviceOf(handle).shutdown(isKnown ? static_cast<Goodbye>(reason) : Goodbye::shutdown, wake_in_seconds);
}

MUSTER_EXPORT(muster_phase) uint32_t muster_phase(uint32_t handle) {
  return static_cast<uint32_t>(deviceOf(handle).phase());
}
}
