#pragma once
// A device that keeps to the contract: one state machine, driven by events and by `tick`; it never waits.

#include "board.hpp"
#include "commands.hpp"
#include "contract.hpp"
#include "node.hpp"
#include "outbox.hpp"
#include "reconnect.hpp"
#include "settings.hpp"

namespace muster {

/** What `info.firmware` says. */
constexpr Text kFirmwareVersion = "0.1.0";

/** Why a device cannot begin. */
enum class Fault : uint8_t { none = 0, badId = 1, badRoom = 2, badSettings = 3 };

/** What a device is doing. */
enum class Phase : uint8_t { off, waiting, connecting, online, leaving };

/**
 * The whole device but its hardware and its network. The owner calls `begin` once, then `tick` when the time is up that
 * it last answered, or earlier; it hands over what the transport says, and calls `tick` after that. All from one
 * thread.
 */
class Device {
 public:
  Device(Board& board, Transport& transport, Node& node, Text id, Text room);
  Device(const Device&) = delete;
  Device& operator=(const Device&) = delete;

  /** `{"heartbeat":60}`: defaults of this device, before `begin`; what `config` says goes over them. */
  Fault configure(Text settings);
  /** Reads flash and gets ready to connect at the first tick. */
  Fault begin();
  /** Does what is due, and answers in how many milliseconds it wants to be called again at the latest. */
  uint32_t tick();

  void onConnected();
  void onDisconnected(LostReason reason);
  /** `reasonCode` of PUBACK, PUBREC or PUBCOMP (MQTT 5, section 3.4.2.1); from 0x80 on the broker has refused. */
  void onAcknowledged(Token token, uint8_t reasonCode);
  /** `isRetained` where the broker sends what it had kept. */
  void onMessage(Text topic, Text payload, bool isRetained);
  /**
   * Leaves in order: what waits goes out, then the goodbye; when it is acknowledged DISCONNECT 0x00 and power down.
   * After a limit the connection ends with the will instead. `wakeInSeconds` is for a sleep.
   */
  void shutdown(Goodbye reason, uint32_t wakeInSeconds);

  Phase phase() const { return phase_; }

  // For nodes.
  Board& board() const { return board_; }
  Text room() const { return {room_, roomSize_}; }
  const Settings& settings() const { return settings_; }
  /** `Board::millis` of this tick: all that is decided within one sees the same time. */
  uint32_t now() const { return now_; }
  /** Sends readings as telemetry, numbered; false at QoS 0 without a connection, when nothing is sent or numbered. */
  bool report(const Reading* readings, size_t count, Setting qos);
  /** A state is another than what was sent last, or is to be said again. */
  void stateChanged(uint8_t index) { slots_[kFirstNodeSlot + index].isWanted = true; }

 private:
  /** A topic of which only the newest message counts. */
  struct Slot {
    Token token = kNoToken;
    bool isWanted = false;
    /** Times in a row that the broker refused; it is asked again later, for rights may be on their way. */
    uint8_t refusals = 0;
    uint32_t refusedAt = 0;
  };
  /** Where flash keeps the configuration. */
  static constexpr Text kConfigKey = "config";
  static constexpr uint8_t kBirth = 0;
  static constexpr uint8_t kInfo = 1;
  static constexpr uint8_t kFirstNodeSlot = 2;
  static constexpr uint8_t kSlots = kFirstNodeSlot + kMaxNodeStates;

  Text id() const { return {id_, idSize_}; }
  uint32_t since(uint32_t moment) const { return now_ - moment; }
  void readTime();

  void connect();
  void keepSession();
  void beginSession();
  PreviousSession sessionEnd() const;
  void endConnection(LostReason reason);
  uint32_t tickConnection();

  void send();
  bool sendSlot(uint8_t index);
  uint32_t retryWaitMs(const Slot& slot) const;
  Token publish(Channel channel, Text payload, const PublishOptions& options);
  Token publish(Text topic, Text payload, const PublishOptions& options);
  void writeInfo(Writer& out) const;
  bool hasUnsent() const;
  bool isAwaiting() const;

  uint32_t tickLeaving();
  void powerOff();
  uint32_t tickSleep();

  void onConfig(Text payload);
  void onCommand(Text payload, bool isRetained);
  Text execute(const Command& command, bool isRetained);
  void push(Channel channel, uint8_t qos, Text payload);
  void keepEnd();
  void forgetEnd();

  Board& board_;
  Transport& transport_;
  Node& node_;
  char id_[64];
  char room_[64];
  uint8_t idSize_;
  uint8_t roomSize_;

  Settings defaults_;
  Settings settings_;
  /** What came of the last configuration; `unknown` is about the one that is applied. */
  ConfigResult lastConfig_;
  Timekeeper time_;
  Reconnect reconnect_;
  Outbox outbox_;
  RecentCommands recent_;
  Slot slots_[kSlots];

  Phase phase_ = Phase::off;
  uint32_t now_ = 0;
  /** When the phase began. */
  uint32_t phaseAt_ = 0;
  uint32_t startedAt_ = 0;
  uint32_t waitMs_ = 0;
  /** The last sign of life from the broker while something is under way. */
  uint32_t progressAt_ = 0;
  /** Of this connection; settings count from the next one. */
  uint16_t keepAliveSeconds_ = 60;
  uint32_t sessionExpirySeconds_ = 0;

  /** Of the last connection that was tried; in its will. */
  uint64_t session_ = 0;
  bool isSessionUsed_ = false;
  /** Of the last connection that stood, or of the first try: what readings are numbered in. */
  uint64_t readingSession_ = 0;
  uint32_t seq_ = 0;
  uint32_t dropped_ = 0;
  /** The birth of `readingSession_` was acknowledged. */
  bool isBorn_ = false;
  bool hasPrevious_ = false;
  PreviousSession previous_;
  /** Flash says how a session ended; until the next one is born, then nothing is known of that one. */
  bool isEndKept_ = false;

  Goodbye goodbye_ = Goodbye::shutdown;
  uint32_t wakeInSeconds_ = 0;
  bool restarts_ = false;
  Token goodbyeToken_ = kNoToken;
};

}  // namespace muster
