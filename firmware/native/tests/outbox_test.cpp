#include "../../core/outbox.hpp"

#include <gtest/gtest.h>

#include <deque>
#include <random>
#include <string>

namespace muster {
namespace {

/** What the outbox keeps beside a payload. */
constexpr size_t kHeaderBytes = 8;

std::string str(Text text) { return {text.data, text.size}; }
Waiting message(const std::string& payload) { return {Channel::telemetry, 1, {payload.data(), payload.size()}}; }

std::string sized(size_t number, size_t size) {
  std::string payload = std::to_string(number);
  payload.resize(size, '.');
  return payload;
}

TEST(AnOutbox, GivesMessagesInTheirOrderAndForgetsThemWhenAcknowledged) {
  Outbox outbox;
  for (const char* payload : {"a", "b", "c"}) EXPECT_EQ(outbox.push(message(payload), true), 0);
  Waiting next;
  for (Token token = 1; token <= 3; ++token) {
    ASSERT_TRUE(outbox.next(next));
    EXPECT_EQ(str(next.payload), std::string(1, static_cast<char>('a' + token - 1)));
    outbox.markSent(token);
  }
  EXPECT_FALSE(outbox.next(next));
  EXPECT_TRUE(outbox.acknowledge(2));
  EXPECT_FALSE(outbox.acknowledge(2));
  EXPECT_FALSE(outbox.acknowledge(kNoToken));
  EXPECT_FALSE(outbox.acknowledge(99));
  outbox.forgetTokens();
  ASSERT_TRUE(outbox.next(next));
  EXPECT_EQ(str(next.payload), "a");
  outbox.markSent(1);
  ASSERT_TRUE(outbox.next(next));
  EXPECT_EQ(str(next.payload), "c");
  EXPECT_EQ(outbox.count(), 2);
}

TEST(AnOutbox, HasAWindow) {
  Outbox outbox;
  for (int index = 0; index < kOutboxWindow + 1; ++index) outbox.push(message("x"), true);
  Waiting next;
  Token token = 0;
  while (outbox.next(next)) outbox.markSent(++token);
  EXPECT_EQ(token, kOutboxWindow);
  EXPECT_TRUE(outbox.acknowledge(3));
  EXPECT_TRUE(outbox.next(next));
}

TEST(AFullOutbox, DropsTheOldestThatIsNotUnderWay) {
  Outbox outbox;
  size_t count = 0;
  while (outbox.push(message(sized(count, 100)), true) == 0) ++count;
  Waiting next;
  ASSERT_TRUE(outbox.next(next));
  EXPECT_EQ(str(next.payload).substr(0, 2), "1.") << "0 was dropped for the last one";
  outbox.markSent(7);
  EXPECT_EQ(outbox.push(message(sized(500, 100)), true), 1);
  ASSERT_TRUE(outbox.next(next));
  EXPECT_EQ(str(next.payload).substr(0, 2), "3.") << "2 was dropped, 1 is under way";
  EXPECT_EQ(outbox.count(), count);
}

TEST(AFullOutbox, DropsTheNewestWhereThatIsWanted) {
  Outbox outbox;
  size_t count = 0;
  while (outbox.push(message(sized(count, 100)), false) == 0) ++count;
  EXPECT_EQ(outbox.push(message(sized(600, 100)), false), 1);
  Waiting next;
  ASSERT_TRUE(outbox.next(next));
  EXPECT_EQ(str(next.payload).substr(0, 2), "0.");
}

TEST(AFullOutbox, TakesNothingThatIsLargerThanItself) {
  Outbox outbox;
  outbox.push(message("a"), true);
  EXPECT_EQ(outbox.push(message(std::string(kOutboxBytes, 'x')), true), 1);
  EXPECT_EQ(outbox.count(), 1);
}

/** Against a queue of the standard library: nothing is lost but what is counted, order is kept. */
TEST(AnOutbox, KeepsWhatAModelKeeps) {
  struct Kept {
    std::string payload;
    Token token = kNoToken;
  };
  for (uint32_t seed = 0; seed < 40; ++seed) {
    std::mt19937 random(seed);
    Outbox outbox;
    std::deque<Kept> model;
    size_t pushed = 0;
    size_t dropped = 0;
    size_t acknowledged = 0;
    Token lastToken = 0;
    for (int round = 0; round < 2000; ++round) {
      const unsigned what = random() % 10;
      if (what < 4) {
        const std::string payload = sized(pushed++, 1 + random() % 300);
        const bool dropsOldest = random() % 2 == 0;
        size_t used = 0;
        for (const Kept& kept : model) used += kHeaderBytes + kept.payload.size();
        uint8_t gone = 0;
        bool isTaken = true;
        while (isTaken && used + kHeaderBytes + payload.size() > kOutboxBytes) {
          ++gone;
          auto oldest = model.begin();
          while (oldest != model.end() && oldest->token != kNoToken) ++oldest;
          isTaken = dropsOldest && oldest != model.end();
          if (!isTaken) continue;
          used -= kHeaderBytes + oldest->payload.size();
          model.erase(oldest);
        }
        if (isTaken) model.push_back({payload, kNoToken});
        ASSERT_EQ(outbox.push(message(payload), dropsOldest), gone);
        dropped += gone;
      } else if (what < 7) {
        Waiting next;
        if (outbox.next(next)) {
          auto first = model.begin();
          while (first->token != kNoToken) ++first;
          ASSERT_EQ(str(next.payload), first->payload);
          outbox.markSent(++lastToken);
          first->token = lastToken;
        }
      } else if (what < 9 && !model.empty()) {
        const size_t at = random() % model.size();
        const Token token = model[at].token;
        ASSERT_EQ(outbox.acknowledge(token), token != kNoToken);
        if (token != kNoToken) {
          model.erase(model.begin() + static_cast<long>(at));
          ++acknowledged;
        }
      } else {
        outbox.forgetTokens();
        for (Kept& kept : model) kept.token = kNoToken;
      }
      ASSERT_EQ(outbox.count(), model.size());
      ASSERT_EQ(pushed, dropped + acknowledged + model.size());
    }
  }
}

}  // namespace
}  // namespace muster
