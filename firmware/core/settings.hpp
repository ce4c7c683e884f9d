#pragma once
// What can be set while a device runs, by `devices/{device}/config`, and is kept in flash.

#include "json.hpp"

namespace muster {

/** What a device can be told to do otherwise. */
enum class Setting : uint8_t {
  sampleSeconds,
  heartbeatSeconds,
  temperatureBandTenths,
  batterySeconds,
  batteryBandMillivolts,
  telemetryQos,
  batteryQos,
  stateQos,
  keepAliveSeconds,
  sessionExpirySeconds,
  sleepSeconds,
  outboxDrop,
  debounceMs,
  lightOffSeconds,
  count,
};

/** Values of `Setting::outboxDrop`. */
constexpr uint32_t kDropOldest = 0;
constexpr uint32_t kDropNewest = 1;

/** The largest integer that a config version may be; it is kept in 32 bits. */
constexpr uint32_t kMaxConfigVersion = UINT32_MAX;

/** What came of a configuration. */
struct ConfigResult {
  /** Empty when it was applied, or said nothing new. */
  Text error;
  /** The setting that the error is about; empty when it is about the whole. */
  Text setting;
  bool isApplied = false;
  /** Settings that this firmware does not know; they are left out. */
  uint8_t unknown = 0;
};

/** The settings of one device: all within their limits, always. */
class Settings {
 public:
  Settings();

  uint32_t get(Setting setting) const { return values_[static_cast<uint8_t>(setting)]; }
  /** Of a setting of at most 49 days, which `sleep` is not. */
  uint32_t milliseconds(Setting seconds) const { return get(seconds) * 1000; }
  /** The version last applied; 0 for none. */
  uint32_t version() const { return version_; }

  /**
   * `{"version":3,"settings":{"heartbeat":300}}`. All or nothing: one bad value, and nothing changes. What is not named
   * goes back to the device's own defaults, because a configuration is a whole state. A version that is not newer
   * changes nothing: after a failover a broker may hold an old one.
   */
  ConfigResult apply(Text json, const Settings& defaults);
  /** `{"heartbeat":300}`: the device's own defaults, before it starts. */
  ConfigResult setDefaults(Text json);

  /** For flash: the version, and every value; those that were named have their bit in `named`. */
  struct Stored {
    uint32_t version;
    uint32_t named;
    uint32_t values[static_cast<uint8_t>(Setting::count)];
  };
  Stored stored() const;
  /**
   * Puts what was named back over the defaults. False, and nothing changed, where a value is outside of its limits or
   * it was written by another firmware.
   */
  bool restore(const void* data, size_t size);

 private:
  ConfigResult assign(JsonObject members);

  uint32_t version_ = 0;
  /** A bit for each setting that a configuration has named. */
  uint32_t named_ = 0;
  uint32_t values_[static_cast<uint8_t>(Setting::count)];
};

}  // namespace muster
