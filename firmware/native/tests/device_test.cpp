#include <gtest/gtest.h>

#include <algorithm>
#include <random>

#include "worlds.hpp"

namespace muster {
namespace {

using nlohmann::json;

constexpr char kStatus[] = "devices/dev/status";
constexpr char kInfo[] = "devices/dev/info";
constexpr char kTelemetry[] = "devices/dev/telemetry";
constexpr char kAck[] = "devices/dev/ack";
constexpr char kCommand[] = "devices/dev/command";
constexpr char kConfig[] = "devices/dev/config";

TEST(ADevice, IsNotBegunWithAnIdOrARoomThatCannotBeATopic) {
  for (const std::string id : {"", "a/b", "a+b", "#"}) {
    EXPECT_THROW(World({{"device", {{"id", id}, {"node", "dht22"}}}, {"endMs", 1}}).run(), std::invalid_argument) << id;
  }
  EXPECT_THROW(World({{"device", {{"id", "x"}, {"node", "light"}}}, {"endMs", 1}}).run(), std::invalid_argument);
  EXPECT_THROW(World(scriptOf("dht22", {{"settings", {{"keep_alive", 29}}}})).run(), std::invalid_argument);
}

TEST(ADevice, ConnectsWithARetainedWillOfItsSessionAndIsBornFirst) {
  World world(scriptOf("dht22"));
  world.runUntil(1000);
  EXPECT_EQ(world.trace()[1],
            "0 connect dev keep-alive=60 session-expiry=0 will=devices/dev/status "
            R"({"status":"offline","session":1,"reason":"unexpected"})");
  EXPECT_EQ(world.trace()[2],
            "20 publish devices/dev/status qos=1 retained "
            R"({"status":"online","session":1,"timestamp":1700006400020})");
}

TEST(ADevice, TellsWhatItIsAndOwns) {
  World world(scriptOf("light"));
  world.runUntil(1000);
  EXPECT_EQ(payloadsOf(world, kInfo).at(0),
            json::parse(R"({"model":"ESP32 lamp","firmware":"0.1.0","capabilities":["light","brightness"],
              "reset_reason":"power","keep_alive":60,"config":{"version":0},
              "topics":["home/hall/light/state","home/hall/light/command"]})"));
}

TEST(ADevice, TellsItsAddressWhereTheNetworkKnowsOne) {
  World world(scriptOf("dht22"));
  world.ownAddress = "192.168.178.20";
  world.runUntil(1000);
  EXPECT_EQ(payloadsOf(world, kInfo).at(0)["addresses"], json::parse(R"(["192.168.178.20"])"));
}

TEST(ADevice, LeavesInOrderWaitingForTheBroker) {
  World world(scriptOf("dht22"));
  world.runUntil(10000);
  world.shutdown(Goodbye::shutdown, 0);
  world.runUntil(20000);
  const size_t size = world.trace().size();
  ASSERT_GE(size, 3u);
  EXPECT_EQ(world.trace()[size - 3],
            R"(10000 publish devices/dev/status qos=1 retained {"status":"offline","session":1,"reason":"shutdown"})");
  EXPECT_EQ(world.trace()[size - 2], "10030 disconnect 0x00");
  EXPECT_EQ(world.trace()[size - 1], "10030 power-down 0");
}

TEST(ADevice, LeavesWithItsWillWhereNobodyHasHeardTheGoodbye) {
  World world(scriptOf("dht22"));
  world.runUntil(10000);
  world.setNetwork(Network::silent);
  world.shutdown(Goodbye::shutdown, 0);
  world.runUntil(60000);
  EXPECT_EQ(timesOf(world, "disconnect 0x04"), std::vector<uint64_t>{15000});
  EXPECT_TRUE(linesWith(world, "disconnect 0x00").empty());
  EXPECT_EQ(timesOf(world, "power-down"), std::vector<uint64_t>{15000});
}

TEST(ADevice, LeavesAtOnceWhereTheConnectionIsGoneOrNeverWas) {
  World online(scriptOf("dht22"));
  online.runUntil(10000);
  online.setNetwork(Network::silent);
  online.shutdown(Goodbye::shutdown, 0);
  online.setNetwork(Network::down);
  online.runUntil(60000);
  EXPECT_EQ(timesOf(online, "power-down"), std::vector<uint64_t>{10000});

  World connecting(scriptOf("dht22", {{"steps", {{{"atMs", 0}, {"do", "network"}, {"to", "silent"}}}}}));
  connecting.runUntil(40000);
  connecting.shutdown(Goodbye::shutdown, 0);
  connecting.runUntil(60000);
  EXPECT_EQ(timesOf(connecting, "power-down"), std::vector<uint64_t>{40000});
}

TEST(ADevice, SendsWhatWaitsBeforeTheGoodbye) {
  World world(scriptOf("dht22"));
  world.runUntil(1990);
  world.shutdown(Goodbye::update, 0);
  world.deliver(kCommand, command("late", "report"));
  world.runUntil(60000);
  EXPECT_EQ(payloadsOf(world, kAck).at(0), json::parse(R"({"id":"late","ok":false,"error":"leaving"})"));
  EXPECT_LT(timesOf(world, kAck).at(0), timesOf(world, "\"update\"").at(0));
}

TEST(AConnection, ThatIsHalfOpenIsGivenUpAndWhatWasUnderWayIsSentAgain) {
  World world(scriptOf("dht22", {{"settings", {{"heartbeat", 60}}}}));
  world.runUntil(60000);
  world.setNetwork(Network::silent);
  world.runUntil(90000);
  EXPECT_TRUE(linesWith(world, "disconnect").empty()) << "sent at 62 s, given up 30 s later";
  world.runUntil(92000);
  EXPECT_EQ(timesOf(world, "disconnect 0x04"), std::vector<uint64_t>{92000});
  world.setNetwork(Network::up);
  world.runUntil(110000);
  const auto readings = payloadsOf(world, kTelemetry);
  ASSERT_EQ(readings.size(), 3u);
  EXPECT_EQ(readings[1], readings[2]) << "the same number, so that it is known for the same reading";
  EXPECT_EQ(payloadsOf(world, kStatus).back()["prev"], json::parse(R"({"session":1,"seq":2,"dropped":0})"));
}

TEST(AConnection, IsTriedAgainLaterAndLaterButNotLaterThanAMinute) {
  World world(scriptOf("light", {{"endMs", 3600000}, {"steps", {{{"atMs", 0}, {"do", "network"}, {"to", "down"}}}}}));
  world.run();
  const auto times = timesOf(world, "connect dev");
  ASSERT_GT(times.size(), 60u);
  for (size_t index = 1; index < times.size(); ++index) {
    const uint64_t wait = times[index] - times[index - 1];
    EXPECT_GE(wait, kLeastWaitMs);
    EXPECT_LE(wait, std::min<uint64_t>(kLongestWaitMs, kFirstCeilingMs << std::min<size_t>(index - 1, 6)) + 20);
  }
  // Full jitter: neighbours that lost the broker together do not come back together.
  World other(scriptOf("light", {{"seed", 10}, {"steps", {{{"atMs", 0}, {"do", "network"}, {"to", "down"}}}}}));
  other.run();
  EXPECT_NE(times, timesOf(other, "connect dev"));
}

TEST(Reconnecting, BacksOffFromAnotherClientWithTheSameIdAndFromARefusal) {
  Reconnect taken;
  EXPECT_GE(taken.lost(LostReason::takenOver, 60000, 0), 5000u);
  Reconnect refused;
  EXPECT_GE(refused.lost(LostReason::refused, 0, 0), 5000u);
  Reconnect shortLived;
  EXPECT_LE(shortLived.lost(LostReason::network, 900, UINT32_MAX), 1000u);
  EXPECT_GE(shortLived.lost(LostReason::network, 900, 0), 5000u) << "2.0.11 does not say that it was a takeover";
  EXPECT_LE(shortLived.lost(LostReason::network, 10000, UINT32_MAX), 1000u) << "a connection that stood ends it";
}

TEST(Reconnecting, StaysWithinItsLimitsForEver) {
  Reconnect reconnect;
  for (uint32_t failure = 0; failure < 1000; ++failure) {
    const uint32_t wait = reconnect.lost(LostReason::unreached, 0, failure * 2654435761u);
    ASSERT_GE(wait, kLeastWaitMs);
    ASSERT_LE(wait, kLongestWaitMs);
  }
}

TEST(AnOutage, KeepsReadingsUntilTheOutboxIsFullAndCountsTheRest) {
  for (const char* policy : {"oldest", "newest"}) {
    World world(scriptOf("dht22", {{"endMs", 7200000},
                                   {"settings", {{"heartbeat", 60}, {"outbox_drop", policy}}},
                                   {"steps",
                                    {{{"atMs", 30000}, {"do", "network"}, {"to", "down"}},
                                     {{"atMs", 6000000}, {"do", "network"}, {"to", "up"}}}}}));
    world.run();
    const json prev = payloadsOf(world, kStatus).back()["prev"];
    std::vector<int> numbers;
    for (const json& reading : payloadsOf(world, kTelemetry)) {
      if (reading["session"] == 1) numbers.push_back(reading["seq"]);
    }
    EXPECT_TRUE(std::is_sorted(numbers.begin(), numbers.end()));
    const int last = prev["seq"];
    EXPECT_EQ(prev["session"], 1);
    EXPECT_GT(prev["dropped"].get<int>(), 50);
    EXPECT_EQ(static_cast<int>(numbers.size()), last - prev["dropped"].get<int>()) << policy;
    EXPECT_EQ(numbers.back() == last, std::string(policy) == "oldest");
  }
}

TEST(AnOutage, AtQos0SendsNothingLateAndNumbersNothing) {
  World world(scriptOf("dht22", {{"settings", {{"heartbeat", 60}, {"telemetry_qos", 0}}},
                                 {"steps",
                                  {{{"atMs", 30000}, {"do", "network"}, {"to", "down"}},
                                   {{"atMs", 600000}, {"do", "network"}, {"to", "up"}}}}}));
  world.run();
  const auto readings = payloadsOf(world, kTelemetry);
  EXPECT_EQ(payloadsOf(world, kStatus).back()["prev"], json::parse(R"({"session":1,"seq":1,"dropped":0})"));
  EXPECT_EQ(readings.at(1)["session"], 2);
  EXPECT_EQ(readings.at(1)["seq"], 1);
  EXPECT_TRUE(linesWith(world, "telemetry qos=1").empty());
}

TEST(ARefusal, OfAStateIsAskedAgainEverMoreRarely) {
  World world(scriptOf("motion", {{"endMs", 1200000}}));
  world.refusals["home/hall/motion"] = 0x87;
  world.runUntil(1000000);
  const auto times = timesOf(world, "publish home/hall/motion");
  EXPECT_EQ(times, (std::vector<uint64_t>{20, 5050, 15080, 35110, 75140, 155170, 315200, 615230, 915260}));
  world.refusals.clear();
  world.runUntil(1300000);
  EXPECT_EQ(timesOf(world, "publish home/hall/motion").size(), 10u) << "and rests when it was taken";
}

TEST(ARefusal, LetsTheDeviceRestUntilItAsksAgain) {
  World world(scriptOf("motion"));
  world.refusals["home/hall/motion"] = 0x87;
  world.runUntil(1000);
  EXPECT_EQ(world.device()->tick(), 4050u) << "refused at 50 ms, asked again 5 s later";
}

TEST(ARefusal, OfAReadingIsALossThatIsCounted) {
  World world(scriptOf("dht22", {{"settings", {{"heartbeat", 60}}}}));
  world.refusals[kTelemetry] = 0x87;
  world.runUntil(70000);
  world.setNetwork(Network::down);
  world.runUntil(70001);
  world.setNetwork(Network::up);
  world.runUntil(80000);
  EXPECT_EQ(payloadsOf(world, kStatus).back()["prev"], json::parse(R"({"session":1,"seq":2,"dropped":2})"));
}

TEST(AConfiguration, IsAppliedReportedAndKept) {
  World world(scriptOf("dht22"));
  world.runUntil(10000);
  world.deliver(kConfig, R"({"version":3,"settings":{"keep_alive":120,"heartbeat":60}})", true);
  world.runUntil(20000);
  EXPECT_EQ(payloadsOf(world, kInfo).back()["config"], json::parse(R"({"version":3})"));
  EXPECT_EQ(payloadsOf(world, kInfo).back()["keep_alive"], 60) << "that of this connection";
  EXPECT_EQ(payloadsOf(world, kInfo).back()["interval"], 60) << "the heartbeat, from now on";
  world.cutPower();
  world.powerOn();
  world.runUntil(30000);
  EXPECT_EQ(payloadsOf(world, kInfo).back()["config"], json::parse(R"({"version":3})"));
  EXPECT_EQ(payloadsOf(world, kInfo).back()["keep_alive"], 120);
  EXPECT_EQ(linesWith(world, "keep-alive=120").size(), 1u);
}

TEST(AConfiguration, LeavesWhatItDoesNotNameToTheDefaultsAlsoWhereTheyAreNew) {
  World before(scriptOf("dht22", {{"settings", {{"keep_alive", 100}, {"session_expiry", 100}}}}));
  before.runUntil(10000);
  before.deliver(kConfig, R"({"version":3,"settings":{"session_expiry":300}})", true);
  before.runUntil(20000);
  World after(scriptOf("dht22", {{"settings", {{"keep_alive", 200}, {"session_expiry", 200}}}}));
  after.flash = before.flash;
  after.runUntil(1000);
  EXPECT_EQ(linesWith(after, "connect dev keep-alive=200 session-expiry=300").size(), 1u);
}

TEST(AConfiguration, ThatIsBadIsReportedWithItsFaultAndChangesNothing) {
  World world(scriptOf("dht22"));
  world.runUntil(10000);
  world.deliver(kConfig, R"({"version":3,"settings":{"keep_alive":5}})");
  world.runUntil(20000);
  EXPECT_EQ(payloadsOf(world, kInfo).back()["config"],
            json::parse(R"({"version":0,"error":"keep_alive is out of its limits"})"));
  const size_t infos = payloadsOf(world, kInfo).size();
  world.deliver(kConfig, "", true);
  world.runUntil(30000);
  EXPECT_EQ(payloadsOf(world, kInfo).size(), infos) << "a topic that is cleared says nothing";
}

TEST(AConfiguration, ThatIsWhatIsAppliedEndsTheReportOfABadOne) {
  World world(scriptOf("dht22"));
  world.runUntil(10000);
  world.deliver(kConfig, R"({"version":1,"settings":{"heartbeat":60,"colour":1}})", true);
  world.deliver(kConfig, "rubbish", true);
  world.runUntil(20000);
  EXPECT_TRUE(payloadsOf(world, kInfo).back()["config"].contains("error"));
  world.deliver(kConfig, R"({"version":1,"settings":{"heartbeat":60,"colour":1}})", true);
  world.runUntil(30000);
  EXPECT_EQ(payloadsOf(world, kInfo).back()["config"], json::parse(R"({"version":1,"unknown":1})"));
  const size_t infos = payloadsOf(world, kInfo).size();
  world.deliver(kConfig, R"({"version":1,"settings":{"heartbeat":60,"colour":1}})", true);
  world.runUntil(40000);
  EXPECT_EQ(payloadsOf(world, kInfo).size(), infos) << "it says nothing new";
}

TEST(DeepSleep, IsAnnouncedWithItsEndAndKeptToWithoutABroker) {
  World world(
      scriptOf("dht22", {{"settings", {{"sleep", 600}, {"session_expiry", 3600}}}, {"batteryMillivolts", 3912}}));
  world.runUntil(1300000);
  const auto statuses = payloadsOf(world, kStatus);
  EXPECT_EQ(statuses.at(1), json::parse(R"({"status":"offline","session":1,"reason":"sleep","wake_in":600})"));
  EXPECT_EQ(statuses.at(2)["prev"], json::parse(R"({"session":1,"seq":2,"dropped":0})"));
  EXPECT_EQ(linesWith(world, "session-expiry=3600").size(), 3u);
  const auto sleeps = timesOf(world, "power-down 600");
  ASSERT_GE(sleeps.size(), 2u);
  EXPECT_LT(sleeps[0], 3000u) << "awake only as long as it takes";

  World lonely(scriptOf(
      "dht22", {{"settings", {{"sleep", 600}}}, {"steps", {{{"atMs", 0}, {"do", "network"}, {"to", "down"}}}}}));
  lonely.runUntil(700000);
  EXPECT_EQ(timesOf(lonely, "power-down 600").at(0), 30000u) << "a battery does not wait for a broker";
}

TEST(Time, IsTheClockWhenItIsSetAndTheTimeSinceTheStartBefore) {
  World world(scriptOf("dht22", {{"clockMs", 0}, {"settings", {{"heartbeat", 60}}}}));
  world.runUntil(30000);
  world.setClock(kNow);
  world.runUntil(100000);
  world.setClock(kNow - 3600000);
  world.runUntil(400000);
  const auto readings = payloadsOf(world, kTelemetry);
  EXPECT_EQ(readings.at(0)["up"], 2000);
  EXPECT_FALSE(readings.at(0).contains("ts"));
  EXPECT_EQ(readings.at(1)["ts"], kNow + 32000);
  EXPECT_FALSE(readings.at(1).contains("up"));
  EXPECT_LT(readings.at(2)["ts"], readings.at(1)["ts"]) << "an hour back: the clock was wrong before";
  EXPECT_EQ(timesOf(world, kTelemetry), (std::vector<uint64_t>{2000, 62000, 122000, 182000, 242000, 302000, 362000}))
      << "what is due does not depend on the clock";
}

TEST(TheWrapOfMilliseconds, ChangesNothingOfWhatIsDue) {
  std::vector<uint64_t> expected;
  for (const uint32_t start : {0u, 4294967295u, 4294966000u, 4294900000u, 4294600000u, 2147483648u}) {
    for (const char* node : {"dht22", "motion", "motion_light"}) {
      World world(scriptOf(node, {{"millisAtBoot", start},
                                  {"settings", {{"heartbeat", 60}}},
                                  {"steps",
                                   {{{"atMs", 50000}, {"do", "pin"}, {"pin", 13}, {"high", true}},
                                    {{"atMs", 52000}, {"do", "pin"}, {"pin", 13}, {"high", false}},
                                    {{"atMs", 200000}, {"do", "network"}, {"to", "silent"}},
                                    {{"atMs", 400000}, {"do", "network"}, {"to", "up"}}}}}));
      World plain(scriptOf(node, {{"settings", {{"heartbeat", 60}}},
                                  {"steps",
                                   {{{"atMs", 50000}, {"do", "pin"}, {"pin", 13}, {"high", true}},
                                    {{"atMs", 52000}, {"do", "pin"}, {"pin", 13}, {"high", false}},
                                    {{"atMs", 200000}, {"do", "network"}, {"to", "silent"}},
                                    {{"atMs", 400000}, {"do", "network"}, {"to", "up"}}}}}));
      world.runUntil(600000);
      plain.runUntil(600000);
      EXPECT_EQ(world.trace(), plain.trace()) << node << " started at " << start;
    }
  }
}

TEST(ADevice, SurvivesEventsInAnyOrder) {
  for (uint32_t seed = 1; seed <= 60; ++seed) {
    std::mt19937 random(seed);
    const char* nodes[] = {"dht22", "motion", "light", "motion_light"};
    World world(scriptOf(nodes[seed % 4], {{"endMs", 1u << 30}, {"settings", {{"heartbeat", 10}}}}));
    world.runUntil(10);
    uint64_t lastSession = 0;
    for (int round = 0; round < 400; ++round) {
      if (world.device() == nullptr) world.powerOn();
      Device& device = *world.device();
      switch (random() % 9) {
        case 0: device.onConnected(); break;
        case 1: device.onDisconnected(static_cast<LostReason>(random() % 4)); break;
        case 2: device.onAcknowledged(random() % 12, static_cast<uint8_t>(random())); break;
        case 3: device.onMessage("devices/dev/command", "{\"id\":\"1\",\"name\":\"report\"}", false); break;
        case 4: world.setPin(13, random() % 2 == 0); break;
        case 5: world.setNetwork(static_cast<Network>(random() % 3)); break;
        case 6: world.setClock(random() % 2 == 0 ? 0 : kNow + random()); break;
        case 7:
          if (random() % 20 == 0) device.shutdown(static_cast<Goodbye>(random() % 3), random() % 100);
          break;
        default: world.runUntil(world.nowMs() + random() % 20000); break;
      }
      if (world.device() != nullptr) world.runUntil(world.nowMs() + 1);
    }
    for (const std::string& line : linesWith(world, "connect dev")) {
      const uint64_t session = json::parse(line.substr(line.find('{')))["session"];
      ASSERT_GE(session, lastSession) << "seed " << seed;
      lastSession = session;
    }
    EXPECT_GT(lastSession, 3u) << "seed " << seed;
  }
}

TEST(ABrokenFlash, DoesNotSilenceADevice) {
  World world(scriptOf("dht22"));
  world.isFlashBroken = true;
  world.runUntil(10000);
  EXPECT_EQ(payloadsOf(world, kStatus).at(0)["session"], 1);
  EXPECT_EQ(payloadsOf(world, kTelemetry).size(), 1u);
}

TEST(FlashOfAnotherContent, IsNotBelieved) {
  World world(scriptOf("dht22"));
  world.flash["session"] = "rubbish";
  world.flash["config"] = std::string(500, '\xff');
  world.flash["end"] = "rubbish as well";
  world.runUntil(10000);
  EXPECT_EQ(payloadsOf(world, kStatus).at(0),
            json::parse(R"({"status":"online","session":1,"timestamp":1700006400020})"));
}

}  // namespace
}  // namespace muster
