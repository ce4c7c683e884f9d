// Power is lost at each step of a life, and the device starts again with the same flash.

#include <gtest/gtest.h>

#include <set>

#include "worlds.hpp"

namespace muster {
namespace {

using nlohmann::json;

struct PowerLost {};

/** A life with all that writes to flash or to the network: births, readings, an outage, a configuration, a goodbye. */
json life() {
  return scriptOf("dht22", {{"endMs", 300000},
                            {"batteryMillivolts", 3912},
                            {"settings", {{"heartbeat", 10}}},
                            {"steps",
                             {{{"atMs", 15000},
                               {"do", "message"},
                               {"topic", "devices/dev/config"},
                               {"payload", R"({"version":3,"settings":{"heartbeat":20}})"}},
                              {{"atMs", 30000}, {"do", "network"}, {"to", "down"}},
                              {{"atMs", 60000}, {"do", "network"}, {"to", "up"}},
                              {{"atMs", 80000}, {"do", "network"}, {"to", "silent"}},
                              {{"atMs", 130000}, {"do", "network"}, {"to", "up"}},
                              {{"atMs", 200000},
                               {"do", "message"},
                               {"topic", "devices/dev/command"},
                               {"payload", R"({"id":"r","name":"restart"})"}},
                              {{"atMs", 250000}, {"do", "shutdown"}, {"reason", "shutdown"}}}}});
}

/** Plays a life and cuts the power at effect number `cut`; answers whether there was one. */
bool playWithCut(World& world, size_t cut) {
  size_t effects = 0;
  world.onEffect = [&effects, cut](const char*) {
    if (effects++ == cut) throw PowerLost{};
  };
  try {
    world.run();
    return false;
  } catch (const PowerLost&) {
    world.onEffect = nullptr;
    world.cutPower();
    return true;
  }
}

uint64_t willSession(const std::string& connect) { return json::parse(connect.substr(connect.find('{')))["session"]; }

TEST(PowerThatIsLost, AtAnyStepLeavesSessionsThatOnlyGrow) {
  size_t cuts = 0;
  for (;; ++cuts) {
    World world(life());
    if (!playWithCut(world, cuts)) break;
    world.setNetwork(Network::up);
    world.powerOn();
    world.runUntil(world.nowMs() + 60000);

    uint64_t lastWill = 0;
    uint64_t online = 0;
    std::map<uint64_t, std::set<uint64_t>> numbers;
    std::map<std::pair<uint64_t, uint64_t>, std::string> contents;
    for (const std::string& line : world.trace()) {
      if (line.find(" connect ") != std::string::npos) {
        const uint64_t session = willSession(line);
        // The same number again only where no broker was reached with it.
        ASSERT_GE(session, lastWill) << "cut " << cuts;
        ASSERT_GT(session, online) << "cut " << cuts << ": a will of a session that has had a birth";
        lastWill = session;
      }
      if (line.find("publish devices/dev/status") != std::string::npos) {
        const json status = json::parse(line.substr(line.find('{')));
        ASSERT_EQ(status["session"], lastWill) << "cut " << cuts << ": a status of another session than its will";
        if (status["status"] == "online") {
          ASSERT_GE(status["session"].get<uint64_t>(), online);
          online = status["session"];
        }
        if (status.contains("prev")) {
          // Never more than was really given out.
          const uint64_t session = status["prev"]["session"];
          ASSERT_LT(session, status["session"].get<uint64_t>());
        }
      }
      if (line.find("publish devices/dev/telemetry") != std::string::npos) {
        const std::string payload = line.substr(line.find('{'));
        const json reading = json::parse(payload);
        const std::pair<uint64_t, uint64_t> number{reading["session"], reading["seq"]};
        // What is sent again is the same to the last byte; a number never stands for two readings.
        const auto [found, isNew] = contents.emplace(number, payload);
        ASSERT_EQ(found->second, payload) << "cut " << cuts;
        if (isNew) numbers[number.first].insert(number.second);
        ASSERT_LE(number.first, lastWill);
      }
    }
    ASSERT_GT(online, 0u) << "cut " << cuts << ": it came back";
    for (const auto& [session, sequence] : numbers) {
      // Only the outbox of the life that was cut may be missing, and it lies at the end.
      ASSERT_EQ(*sequence.begin(), 1u) << "cut " << cuts << " session " << session;
      ASSERT_EQ(*sequence.rbegin(), sequence.size()) << "cut " << cuts << " session " << session;
    }
  }
  EXPECT_GT(cuts, 100u) << "the life has so many steps at which power can be lost";
}

TEST(PowerThatIsLost, AfterAnAcknowledgementSendsNothingOfItAgain) {
  for (uint64_t cutMs = 2000; cutMs < 30000; cutMs += 35) {
    World world(life());
    world.runUntil(cutMs);
    std::set<std::string> acknowledged;
    for (const std::string& line : world.trace()) {
      const bool isOld = std::stoull(line) + 30 <= cutMs;
      if (isOld && line.find("telemetry") != std::string::npos) acknowledged.insert(line.substr(line.find('{')));
    }
    const size_t before = world.trace().size();
    world.cutPower();
    world.powerOn();
    world.runUntil(cutMs + 20000);
    for (size_t index = before; index < world.trace().size(); ++index) {
      const std::string& line = world.trace()[index];
      if (line.find('{') == std::string::npos) continue;
      ASSERT_EQ(acknowledged.count(line.substr(line.find('{'))), 0u) << line;
    }
  }
}

TEST(PowerThatIsLost, WhileAConfigurationIsKeptLeavesTheOldOrTheNew) {
  for (size_t cut = 0;; ++cut) {
    World world(life());
    if (!playWithCut(world, cut)) break;
    world.setNetwork(Network::up);
    world.powerOn();
    world.runUntil(world.nowMs() + 1000);
    const json config = payloadsOf(world, "devices/dev/info").back()["config"];
    ASSERT_TRUE(config["version"] == 0 || config["version"] == 3) << config;
  }
}

}  // namespace
}  // namespace muster
