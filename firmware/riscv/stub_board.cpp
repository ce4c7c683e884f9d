// The smallest board and network that everything of the core is used by, so that the linker keeps what a real one
// would. NODE is the class of the node, NODE_HEADER its header. Nothing of it is meant to run.

#include NODE_HEADER

#include "../freestanding.hpp"

namespace {

using namespace muster;

/** What the hardware would read and write. */
volatile uint32_t hardware;

class StubBoard final : public Board, public Transport {
 public:
  uint32_t millis() override { return hardware; }
  uint64_t epochMs() override { return hardware; }
  uint32_t random() override { return hardware; }
  ResetReason resetReason() override { return static_cast<ResetReason>(hardware); }
  bool readClimate(uint8_t, Climate& climate) override {
    climate = {static_cast<int16_t>(hardware), static_cast<int16_t>(hardware)};
    return hardware != 0;
  }
  bool watchPin(uint8_t) override { return hardware != 0; }
  bool readPin(uint8_t) override { return hardware != 0; }
  void writeDuty(uint8_t, uint8_t percent) override { hardware = percent; }
  int32_t batteryMillivolts() override { return static_cast<int32_t>(hardware); }
  size_t readFlash(Text, void* value, size_t capacity) override {
    memset(value, static_cast<int>(hardware), capacity);
    return hardware;
  }
  bool writeFlash(Text, const void*, size_t) override { return hardware != 0; }
  void powerDown(uint32_t seconds) override { hardware = seconds; }
  void restart() override { hardware = 0; }
  void log(Text line) override { hardware = line.data[0]; }
  void connect(const ConnectOptions& options) override { hardware = options.keepAliveSeconds; }
  Token publish(Text, Text payload, const PublishOptions&) override { return static_cast<Token>(payload.data[0]); }
  void subscribe(Text, uint8_t) override {}
  void disconnect(DisconnectCode code) override { hardware = static_cast<uint32_t>(code); }
};

StubBoard board;
alignas(NODE) char nodePlace[sizeof(NODE)];
alignas(Device) char devicePlace[sizeof(Device)];

}  // namespace

extern "C" void _start() {
  auto* node = new (nodePlace) NODE();
  auto* device = new (devicePlace) Device(board, board, *node, "size", "check");
  device->configure("{}");
  device->begin();
  for (;;) {
    hardware = device->tick();
    switch (hardware) {
      case 1: device->onConnected(); break;
      case 2: device->onDisconnected(LostReason::network); break;
      case 3: device->onAcknowledged(hardware, 0); break;
      case 4: device->onMessage("topic", "payload", false); break;
      default: device->shutdown(Goodbye::sleep, hardware);
    }
  }
}
