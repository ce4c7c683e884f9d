// muster-node: the firmware of a board on a host, with a real network and a sensor, a lamp and a room that are made up.

#include <poll.h>
#include <unistd.h>

#include <chrono>
#include <cmath>
#include <csignal>
#include <cstdio>
#include <filesystem>
#include <fstream>
#include <iostream>
#include <random>
#include <sstream>
#include <thread>

#include "host_transport.hpp"
#include "world.hpp"

namespace {

using namespace muster;
namespace fs = std::filesystem;

constexpr char kUsage[] =
    "usage: muster-node --id ID --broker HOST:PORT [--node dht22|motion|light|motion_light] [--room ROOM]\n"
    "                   [--username NAME] [--password-file FILE] [--ca FILE] [--settings JSON] [--state FOLDER]\n"
    "SIGTERM and SIGINT leave in order, SIGKILL leaves the will, SIGUSR1 moves in front of the sensor or stops "
    "moving.\n";

/** A command line that cannot be followed. */
struct UsageError : std::runtime_error {
  using std::runtime_error::runtime_error;
};

volatile std::sig_atomic_t isTold = 0;
volatile std::sig_atomic_t moves = 0;

std::string str(Text text) { return {text.data, text.size}; }

/** Flash is a folder with a file for each key, replaced whole; the sensor shows a slow day. */
class HostBoard final : public Board {
 public:
  explicit HostBoard(fs::path folder) : folder_(std::move(folder)) { fs::create_directories(folder_); }

  uint32_t millis() override {
    using namespace std::chrono;
    return static_cast<uint32_t>(duration_cast<milliseconds>(steady_clock::now() - start_).count());
  }
  uint64_t epochMs() override {
    using namespace std::chrono;
    return static_cast<uint64_t>(duration_cast<milliseconds>(system_clock::now().time_since_epoch()).count());
  }
  uint32_t random() override { return random_(); }
  ResetReason resetReason() override { return resetReason_; }
  bool readClimate(uint8_t, Climate& climate) override {
    const double turn = static_cast<double>(epochMs() % 86400000) / 86400000 * 2 * M_PI;
    climate.temperatureTenths = static_cast<int16_t>(210 + 30 * std::sin(turn) + random_() % 3);
    climate.humidityTenths = static_cast<int16_t>(450 + 50 * std::cos(turn) + random_() % 10);
    return true;
  }
  bool watchPin(uint8_t) override { return true; }
  bool readPin(uint8_t) override { return moves % 2 != 0; }
  void writeDuty(uint8_t pin, uint8_t percent) override {
    std::cout << "pin " << int{pin} << " at " << int{percent} << " %" << std::endl;
  }
  int32_t batteryMillivolts() override { return 3912; }

  size_t readFlash(Text key, void* value, size_t capacity) override {
    std::ifstream file(folder_ / str(key), std::ios::binary);
    file.read(static_cast<char*>(value), static_cast<std::streamsize>(capacity));
    return static_cast<size_t>(file.gcount());
  }
  bool writeFlash(Text key, const void* value, size_t size) override {
    const fs::path target = folder_ / str(key);
    const fs::path aside = folder_ / (str(key) + ".new");
    FILE* file = std::fopen(aside.c_str(), "wb");
    if (file == nullptr) return false;
    const bool isWritten =
        std::fwrite(value, 1, size, file) == size && std::fflush(file) == 0 && fsync(fileno(file)) == 0;
    if (std::fclose(file) != 0 || !isWritten) return false;
    return std::rename(aside.c_str(), target.c_str()) == 0;
  }
  void powerDown(uint32_t wakeInSeconds) override {
    isOff_ = true;
    wakeInSeconds_ = wakeInSeconds;
  }
  void restart() override {
    isOff_ = true;
    restarts_ = true;
  }
  void log(Text line) override { std::cout << str(line) << std::endl; }

  bool isOff() const { return isOff_; }
  /** Sleeps until it is to start again; false when it is to stay off. */
  bool waitForStart() {
    if (!restarts_ && wakeInSeconds_ == 0) return false;
    resetReason_ = restarts_ ? ResetReason::software : ResetReason::sleep;
    for (uint32_t second = 0; second < wakeInSeconds_ && isTold == 0; ++second)
      std::this_thread::sleep_for(std::chrono::seconds(1));
    isOff_ = restarts_ = false;
    wakeInSeconds_ = 0;
    return isTold == 0;
  }

 private:
  fs::path folder_;
  std::chrono::steady_clock::time_point start_ = std::chrono::steady_clock::now();
  std::mt19937 random_{std::random_device{}()};
  ResetReason resetReason_ = ResetReason::power;
  bool isOff_ = false;
  bool restarts_ = false;
  uint32_t wakeInSeconds_ = 0;
};

/** What the command line says. */
struct Options {
  std::string id;
  std::string room;
  std::string node = "dht22";
  std::string settings = "{}";
  std::string state;
  BrokerAddress broker;
};

void readBroker(const std::string& value, BrokerAddress& broker) {
  const size_t colon = value.rfind(':');
  broker.host = value.substr(0, colon);
  if (colon != std::string::npos) {
    char* end = nullptr;
    const long port = std::strtol(value.c_str() + colon + 1, &end, 10);
    if (*end != '\0' || port < 1 || port > 65535) throw UsageError("--broker: expected HOST:PORT, found " + value);
    broker.port = static_cast<int>(port);
  }
  if (broker.host.empty()) throw UsageError("--broker: expected HOST:PORT, found " + value);
}

std::string readPassword(const std::string& path) {
  std::ifstream file(path);
  if (!file) throw UsageError("--password-file: cannot read " + path);
  std::string password;
  std::getline(file, password);
  return password;
}

Options parse(int argc, char** argv) {
  Options options;
  for (int index = 1; index < argc; index += 2) {
    const std::string name = argv[index];
    if (name == "--help") {
      std::cout << kUsage;
      std::exit(0);
    }
    if (index + 1 == argc) throw UsageError(name + ": a value is missing");
    const std::string value = argv[index + 1];
    if (name == "--id")
      options.id = value;
    else if (name == "--room")
      options.room = value;
    else if (name == "--node")
      options.node = value;
    else if (name == "--settings")
      options.settings = value;
    else if (name == "--state")
      options.state = value;
    else if (name == "--username")
      options.broker.username = value;
    else if (name == "--password-file")
      options.broker.password = readPassword(value);
    else if (name == "--ca")
      options.broker.certificateAuthority = value;
    else if (name == "--broker")
      readBroker(value, options.broker);
    else
      throw UsageError("no such option: " + name);
  }
  if (options.broker.host.empty()) throw UsageError("--broker is missing");
  // Before a path is made of it.
  if (!isDeviceId({options.id.data(), options.id.size()}))
    throw UsageError("--id: expected 1 to 64 of the characters A-Z a-z 0-9 _ -");
  if (options.room.empty()) options.room = options.id.substr(0, options.id.rfind('-'));
  if (options.state.empty()) options.state = ".muster/node-" + options.id;
  return options;
}

/** One life of the device, from power to power down. */
void live(const Options& options, HostBoard& board) {
  const auto node = makeNode(options.node);
  if (node == nullptr) throw UsageError("--node: expected dht22, motion, light or motion_light, found " + options.node);
  HostTransport transport(options.broker);
  Device device(board, transport, *node, {options.id.data(), options.id.size()},
                {options.room.data(), options.room.size()});
  if (device.configure({options.settings.data(), options.settings.size()}) != Fault::none) {
    throw UsageError("--settings: not settings of a device: " + options.settings);
  }
  if (device.begin() != Fault::none) throw UsageError("--room: expected 1 to 64 of the characters A-Z a-z 0-9 _ -");
  Phase last = Phase::off;
  while (!board.isOff()) {
    const uint32_t waitMs = device.tick();
    if (device.phase() != last && device.phase() == Phase::online) std::cout << "online" << std::endl;
    last = device.phase();
    if (board.isOff()) break;
    // A signal is seen within this time.
    const int limitMs = static_cast<int>(std::min<uint32_t>(waitMs, 100));
    if (last == Phase::waiting) poll(nullptr, 0, limitMs);
    transport.dispatch(device, limitMs);
    if (isTold != 0) device.shutdown(Goodbye::shutdown, 0);
  }
}

}  // namespace

int main(int argc, char** argv) {
  std::signal(SIGTERM, [](int) { isTold = 1; });
  std::signal(SIGINT, [](int) { isTold = 1; });
  std::signal(SIGUSR1, [](int) { moves = moves + 1; });
  std::signal(SIGPIPE, SIG_IGN);
  try {
    const Options options = parse(argc, argv);
    HostBoard board(options.state);
    do {
      live(options, board);
    } while (board.waitForStart());
  } catch (const UsageError& error) {
    std::cerr << "muster-node: " << error.what() << "\n" << kUsage;
    return 2;
  } catch (const std::exception& error) {
    std::cerr << "muster-node: " << error.what() << "\n";
    return 1;
  }
  return 0;
}
