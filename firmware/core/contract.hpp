#pragma once
// The contract with devices: topics and payloads (libs/contract; libs/contract/vectors.json is what both are tested
// by).

#include "text.hpp"

namespace muster {

/** The largest session that survives JavaScript (Number.MAX_SAFE_INTEGER). */
constexpr uint64_t kMaxSession = 9007199254740991u;
/** A will stays below this, in bytes (mqtt-pitfalls P5 of the product's design). */
constexpr size_t kWillLimitBytes = 100;
/** `devices/`, an id of 64 and `/telemetry`; `home/`, a room of 64 and `/light/command`. */
constexpr size_t kMaxTopicBytes = 96;

/** What a device's own topics are for. */
enum class Channel : uint8_t { status, info, config, telemetry, command, ack };

/** `devices/{device}/{channel}` */
void writeTopic(Writer& out, Text device, Channel channel);

/** `home/{room}/{role}`: the role is `motion`, `light/command` or `light/state`. */
void writeRoomTopic(Writer& out, Text room, Text role);

/** Why a device leaves when it says so itself. */
enum class Goodbye : uint8_t { shutdown = 0, sleep = 1, update = 2 };

/** The longest sleep that a status may tell of (statusSchema of libs/contract): a year. */
constexpr uint32_t kLongestSleepSeconds = 31536000;

/**
 * How the session before this one ended, as far as it is known: what power that was lost took with it is not, and then
 * both counts are what they were when the connection ended.
 */
struct PreviousSession {
  uint64_t session = 0;
  /** The last number that was given out. */
  uint32_t seq = 0;
  /** Messages that the device threw away. */
  uint32_t dropped = 0;
};

/** When something was: by the clock, or since the start where there is none. */
struct Moment {
  bool isByClock = false;
  uint64_t milliseconds = 0;
};

/** `{"status":"online","session":7,"timestamp":…,"prev":{…}}`; `up` instead of `timestamp` without a clock. */
void writeBirth(Writer& out, uint64_t session, const Moment& moment, const PreviousSession* previous);
/** `{"status":"offline","session":7,"reason":"unexpected"}` */
void writeWill(Writer& out, uint64_t session);
/** The will with a reason, and for a sleep the seconds until the device wakes. */
void writeGoodbye(Writer& out, uint64_t session, Goodbye reason, uint32_t wakeInSeconds);

/** One metric; `value` is in units of `10^-decimals`. */
struct Reading {
  Text metric;
  int32_t value = 0;
  uint8_t decimals = 0;
};

/** `{"temp":22.5,"hum":45.3,"ts":1698765432123,"session":7,"seq":1204}` */
void writeTelemetry(Writer& out, const Reading* readings, size_t count, const Moment& moment, uint64_t session,
                    uint32_t seq);

/** An id of 64 characters that are all escaped, and the longest error. */
constexpr size_t kMaxAckBytes = 256;

/** `{"id":"…","ok":true}`, or with `error` and false. */
void writeAck(Writer& out, Text id, Text error);

/** What a lamp is told. */
struct LightCommand {
  bool isOn = false;
  bool hasBrightness = false;
  uint8_t brightness = 0;
};

/** Reads `ON`, `OFF` or a brightness from 0 to 100, as `decodeLightCommand` of libs/contract; false for anything else.
 */
bool readLightCommand(Text text, LightCommand& command);

/**
 * Device time. Milliseconds since the start do not wrap as the board's do, as long as it is asked once in 49 days.
 * Times by the clock grow strictly, so that no two messages of a device fall on one point (contract: `ts`).
 */
class Timekeeper {
 public:
  /** Tells it what time it is; `epochMs` is 0 without a clock. The first time is the start. */
  void update(uint32_t millis, uint64_t epochMs);
  uint64_t uptimeMs() const { return uptimeMs_; }
  /** Milliseconds since 1970, or 0 while the clock has not been set. */
  uint64_t epochMs() const { return epochMs_; }
  /** Now, for something that is shown only. */
  Moment now() const;
  /** Now, for a reading: later than any before. A clock that was put back by more than a minute is believed. */
  Moment next();

 private:
  bool hasStarted_ = false;
  uint32_t lastMillis_ = 0;
  uint64_t uptimeMs_ = 0;
  uint64_t epochMs_ = 0;
  /** The next reading is not before these. */
  uint64_t earliestClockMs_ = 0;
  uint64_t earliestUptimeMs_ = 0;
};

/** A clock that shows less has not been set: 2020-01-01. */
constexpr uint64_t kClockUnsetBelowMs = 1577836800000u;
/** A clock that goes back by more was wrong before; by less, it was adjusted. */
constexpr uint64_t kClockAdjustedMs = 60000;

}  // namespace muster
