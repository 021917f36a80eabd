package kafka_streams;

import java.time.OffsetDateTime;
import java.time.format.DateTimeParseException;
import java.util.regex.Pattern;

/** What the members of an event must look like; null is never valid. */
final class Fields {
    private static final Pattern AMOUNT = Pattern.compile("[0-9]+(\\.[0-9]+)?");
    private static final Pattern EMAIL = Pattern.compile("[^\\s\\p{Cc}@]{1,64}@[^\\s\\p{Cc}@]{1,255}");
    private static final Pattern LOCALE = Pattern.compile("[A-Za-z]{2,8}(-[A-Za-z0-9]{1,8})*");
    private static final Pattern UUID = Pattern.compile("[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}");
    private static final int LONGEST_AMOUNT = 40;
    private static final int LONGEST_REMARK = 200;

    private Fields() {}

    /** One to {@code longest} printable characters. */
    static boolean isName(String text, int longest) {
        return text != null && !text.isEmpty() && isPrintable(text, longest);
    }

    /** Free text, which may be empty. */
    static boolean isRemark(String text) {
        return isPrintable(text, LONGEST_REMARK);
    }

    static boolean isAmount(String text) {
        return text.length() <= LONGEST_AMOUNT && AMOUNT.matcher(text).matches();
    }

    static boolean isEmail(String text) {
        return text != null && EMAIL.matcher(text).matches();
    }

    static boolean isLocale(String text) {
        return LOCALE.matcher(text).matches();
    }

    static boolean isUuid(String text) {
        return text != null && UUID.matcher(text).matches();
    }

    /** RFC 3339, with an offset. */
    static boolean isTime(String text) {
        if (text == null) {
            return false;
        }
        try {
            OffsetDateTime.parse(text);
            return true;
        } catch (DateTimeParseException noTime) {
            return false;
        }
    }

    /** At most {@code longest} characters; no control characters, lone surrogates, line or paragraph separators. */
    private static boolean isPrintable(String text, int longest) {
        if (text.length() > 2 * longest || text.codePointCount(0, text.length()) > longest) {
            return false;
        }
        for (int place = 0; place < text.length(); ) {
            int character = text.codePointAt(place);
            if (!isPrintable(character)) {
                return false;
            }
            place += Character.charCount(character);
        }
        return true;
    }

    private static boolean isPrintable(int character) {
        return switch (Character.getType(character)) {
            case Character.CONTROL, Character.SURROGATE -> false;
            case Character.LINE_SEPARATOR, Character.PARAGRAPH_SEPARATOR -> false;
            default -> true;
        };
    }
}
